//! What a client can do wrong in STOMP: a name for programs, a sentence for people, and a short quotation of the offence.

use crate::name::NameFault;

/// What a client did wrong. STOMP has one answer to all of it: an ERROR, and the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the quotation or the limit that the sentence names")]
pub enum StompFault {
    /// A line where a command should be.
    #[error("unknown command {command:?}; a frame begins with one of SEND, SUBSCRIBE, …, in capitals on a line of its own")]
    UnknownCommand { command: String },
    /// The command and headers are over the limit.
    #[error("the command and headers have more than {max} bytes")]
    HeadTooLarge { max: usize },
    /// More headers than the limit.
    #[error("the frame has more than {max} headers")]
    TooManyHeaders { max: usize },
    /// The frame ends within its headers.
    #[error("NUL in the line {line:?}; a blank line ends the headers, then comes the body, then NUL")]
    NulInHead { line: String },
    /// A CR that does not end a line.
    #[error("a carriage return within the line {line:?}; write \\r")]
    CarriageReturnInHead { line: String },
    /// A line that is no header.
    #[error("header line without a colon: {line:?}")]
    HeaderWithoutColon { line: String },
    /// A colon with nothing before it.
    #[error("header without a name: {line:?}")]
    HeaderWithoutName { line: String },
    /// Bytes that are not UTF-8.
    #[error("header that is not UTF-8: {line:?}")]
    HeaderNotUtf8 { line: String },
    /// A backslash before what the version does not escape.
    #[error("unknown escape in the header {line:?}; a backslash is written \\\\")]
    UnknownEscape { line: String },
    /// A length that is no number.
    #[error("content-length is not a number: {value:?}")]
    InvalidContentLength { value: String },
    /// The body is over the limit.
    #[error("the body has more than {max} bytes")]
    BodyTooLarge { max: usize },
    /// No NUL where the length says that the body ends.
    #[error("no NUL after the {content_length} bytes that content-length tells")]
    BodyNotEnded { content_length: usize },
    /// A body where there must be none.
    #[error("{command} has a body; only SEND may have one")]
    BodyNotAllowed { command: &'static str },
    /// Another frame before CONNECT.
    #[error("{command} before CONNECT; connect first")]
    NotConnected { command: &'static str },
    /// CONNECT again.
    #[error("already connected")]
    AlreadyConnected,
    /// A server's command, or one that the version does not have.
    #[error("a client does not send {command} in this version")]
    UnexpectedCommand { command: &'static str },
    /// No version in common.
    #[error("supported protocol versions are {supported}")]
    VersionNotSupported { supported: String },
    /// Not two numbers.
    #[error("heart-beat is two numbers of milliseconds, such as 10000,10000")]
    InvalidHeartBeat,
    /// A header without which the frame means nothing.
    #[error("{command} needs the header {name}")]
    MissingHeader { command: &'static str, name: &'static str },
    /// An id or key over the limit.
    #[error("the header {name} has more than {max} bytes")]
    IdTooLong { name: &'static str, max: usize },
    /// Not a channel's name after a slash.
    #[error("destination {destination:?}: {reason}")]
    InvalidDestination { destination: String, reason: NameFault },
    /// No slash at the beginning.
    #[error("destination {destination:?} does not begin with a slash; write /topic/NAME or /NAME")]
    DestinationWithoutSlash { destination: String },
    /// A name of the server's own.
    #[error("channels that begin with $ are the server's own; choose another name")]
    ReservedChannel,
    /// A queue's name.
    #[error("queues are not served here; write /topic/NAME or /NAME")]
    QueuesNotServed,
    /// An id that is in use.
    #[error("the subscription {id:?} is already open; give another id, or unsubscribe first")]
    SubscriptionExists { id: String },
    /// No subscription of this id.
    #[error("no subscription {id:?} is open")]
    UnknownSubscription { id: String },
    /// More subscriptions than the limit.
    #[error("more than {max} subscriptions; unsubscribe from some, or use another connection")]
    TooManySubscriptions { max: usize },
    /// Not an ack mode.
    #[error("ack is auto, client or client-individual")]
    InvalidAckMode,
    /// Not a window's size.
    #[error("prefetch-count is a number from 1 to {max}")]
    InvalidPrefetch { max: usize },
    /// More in flight than the limit.
    #[error("the subscriptions would have more than {max} messages in flight together; give them a smaller prefetch-count")]
    PrefetchTotalTooLarge { max: usize },
    /// The cursor breaks the grammar.
    #[error("after is not a cursor; give the position or cursor as the server gave it")]
    InvalidCursor,
    /// Not a place to start from, or two.
    #[error("a start is one of after:<cursor>, earliest:true and last:<number>")]
    InvalidStart,
    /// An ack for what is not in flight.
    #[error("no message {id:?} waits for an answer; ACK and NACK each message at most once, and not in auto mode")]
    NotInFlight { id: String },
    /// A transaction that is open.
    #[error("the transaction {id:?} is already open; give another id")]
    TransactionExists { id: String },
    /// No transaction of this id.
    #[error("no transaction {id:?} is open; BEGIN it first")]
    UnknownTransaction { id: String },
    /// More transactions than the limit.
    #[error("more than {max} open transactions")]
    TooManyTransactions { max: usize },
    /// More in open transactions than the limits.
    #[error("the open transactions hold more than {frames_max} frames or {bytes_max} bytes; commit in smaller parts")]
    TransactionTooLarge { frames_max: usize, bytes_max: usize },
    /// Not a media type.
    #[error("content-type is not a media type")]
    InvalidContentType,
    /// A body of JSON that is none.
    #[error("the body is {reason}")]
    InvalidJson { reason: String },
    /// An empty key.
    #[error("the header {name} is empty; leave it out, or give a value")]
    EmptyHeader { name: &'static str },
    /// Nothing came for longer than was agreed.
    #[error("no heart-beat for {expect_ms} milliseconds, as was agreed")]
    HeartBeatMissed { expect_ms: u64 },
    /// What the server refused on other grounds: `code` and `message` are its own.
    #[error("{message}")]
    Refused { code: &'static str, message: String },
}

impl StompFault {
    /// The fault's name for programs: the ERROR's `code` header.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownCommand { .. } => "unknown-command",
            Self::HeadTooLarge { .. } => "head-too-large",
            Self::TooManyHeaders { .. } => "too-many-headers",
            Self::NulInHead { .. } => "nul-in-head",
            Self::CarriageReturnInHead { .. } => "carriage-return-in-head",
            Self::HeaderWithoutColon { .. } => "header-without-colon",
            Self::HeaderWithoutName { .. } => "header-without-name",
            Self::HeaderNotUtf8 { .. } => "header-not-utf-8",
            Self::UnknownEscape { .. } => "unknown-escape",
            Self::InvalidContentLength { .. } => "invalid-content-length",
            Self::BodyTooLarge { .. } => "body-too-large",
            Self::BodyNotEnded { .. } => "body-not-ended",
            Self::BodyNotAllowed { .. } => "body-not-allowed",
            Self::NotConnected { .. } => "not-connected",
            Self::AlreadyConnected => "already-connected",
            Self::UnexpectedCommand { .. } => "unexpected-command",
            Self::VersionNotSupported { .. } => "version-not-supported",
            Self::InvalidHeartBeat => "invalid-heart-beat",
            Self::MissingHeader { .. } => "missing-header",
            Self::IdTooLong { .. } => "id-too-long",
            Self::InvalidDestination { .. } | Self::DestinationWithoutSlash { .. } => "invalid-destination",
            Self::ReservedChannel => "reserved-channel",
            Self::QueuesNotServed => "queues-not-served",
            Self::SubscriptionExists { .. } => "already-subscribed",
            Self::UnknownSubscription { .. } => "not-subscribed",
            Self::TooManySubscriptions { .. } => "too-many-subscriptions",
            Self::InvalidAckMode => "invalid-ack",
            Self::InvalidPrefetch { .. } => "invalid-prefetch-count",
            Self::PrefetchTotalTooLarge { .. } => "prefetch-total-too-large",
            Self::InvalidCursor => "invalid-cursor",
            Self::InvalidStart => "invalid-start",
            Self::NotInFlight { .. } => "not-in-flight",
            Self::TransactionExists { .. } => "transaction-exists",
            Self::UnknownTransaction { .. } => "unknown-transaction",
            Self::TooManyTransactions { .. } => "too-many-transactions",
            Self::TransactionTooLarge { .. } => "transaction-too-large",
            Self::InvalidContentType => "invalid-type",
            Self::InvalidJson { .. } => "invalid-data",
            Self::EmptyHeader { .. } => "empty-header",
            Self::HeartBeatMissed { .. } => "heart-beat-missed",
            Self::Refused { code, .. } => code,
        }
    }
}

/// As much of what came as is worth reading.
pub(super) fn quote(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTE_BYTES_MAX)]).into_owned()
}

const QUOTE_BYTES_MAX: usize = 80;
