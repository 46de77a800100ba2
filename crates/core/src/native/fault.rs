//! What a client can do wrong in the native protocol: a name for programs and a sentence for people.

use super::Id;
use crate::json::JsonFault;
use crate::name::NameFault;

/// A command that cannot be obeyed, with the id to answer under.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct NativeFault {
    /// The command's id, wherever the JSON could be read and had one.
    pub id: Option<Id>,
    /// What is wrong.
    pub kind: NativeFaultKind,
}

/// What is wrong with a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NativeFaultKind {
    /// The text is not JSON.
    #[error("not JSON ({reason}); send an object a line, such as {EXAMPLE}")]
    NotJson {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// Arrays and objects within each other, deeper than the limit.
    #[error("the JSON is nested deeper than the limit of {max}; flatten it")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// JSON, but no object.
    #[error("a command is a JSON object, such as {EXAMPLE}")]
    NotAnObject,
    /// None of the commands is given.
    #[error("no known command{}; the commands are subscribe, publish, unsubscribe and ping, as in {EXAMPLE}", meant(.nearest))]
    UnknownCommand {
        /// The command that was probably meant.
        nearest: Option<&'static str>,
    },
    /// Two commands in one object.
    #[error("{first} and {second} in one object; send an object for each")]
    AmbiguousCommand {
        /// One of them.
        first: &'static str,
        /// Another.
        second: &'static str,
    },
    /// A member that the command does not have.
    #[error("{command} has no member {field:?}{}", meant(.nearest))]
    UnknownField {
        /// The command.
        command: &'static str,
        /// The member.
        field: String,
        /// The member that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A member that is given twice.
    #[error("{field} is given twice; give it once")]
    RepeatedField {
        /// The member.
        field: &'static str,
    },
    /// An id that is no string or number, or is too long to repeat.
    #[error("an id is a JSON string or number of at most 256 bytes")]
    InvalidId,
    /// A ping too long to repeat.
    #[error("the ping has {len} bytes of JSON; at most 256 are sent back")]
    PingTooLong {
        /// How many it has.
        len: usize,
    },
    /// An interval of pings that is no number of milliseconds.
    #[error("every_ms is a whole number of milliseconds of at most a day, or 0 to be asked no more")]
    InvalidPingEvery,
    /// The channel is not a string.
    #[error("the channel's name is a JSON string, such as \"chat/lobby\"")]
    ChannelNotText,
    /// The channel's name breaks the rules for names.
    #[error(transparent)]
    InvalidChannel(#[from] NameFault),
    /// The cursor breaks the grammar.
    #[error("after is not a cursor: give <epoch>-<offset> as the server gave it")]
    InvalidCursor,
    /// A start of the wrong kind.
    #[error("{field} is not understood: a start is \"after\":<cursor>, \"earliest\":true, \"last\":<number> or \"live\":true")]
    InvalidStart {
        /// The member.
        field: &'static str,
    },
    /// A subscribe's wish for completeness that is neither true nor false.
    #[error("repair is true (what is lost is asked for again) or false (only the newest)")]
    InvalidRepair,
    /// A repair without the place where it is to begin.
    #[error("a repair needs after, the cursor before what was lost")]
    RepairWithoutAfter,
    /// More than one place to start from.
    #[error("more than one start; give one of after, earliest, last and live")]
    TwoStarts,
    /// A publish without a payload.
    #[error("publish has no data; give a string for text, any other JSON value for JSON, or base64 with \"base64\":true")]
    MissingData,
    /// A payload that is not what it is said to be.
    #[error("invalid data: {reason}")]
    InvalidData {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A payload of JSON that is none.
    #[error("invalid data: {reason}")]
    DataNotJson {
        /// What the parser says.
        reason: String,
    },
    /// A payload over the limit.
    #[error("the payload has {len} bytes; at most {max} are allowed")]
    PayloadTooLarge {
        /// How many it has.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A type that cannot be a media type.
    #[error("type is a media type of at most 255 bytes, such as \"image/png\"")]
    InvalidType,
    /// A key that is empty, too long or no string.
    #[error("{field} is a string of 1 to {max} bytes")]
    InvalidKey {
        /// The member.
        field: &'static str,
        /// The limit.
        max: usize,
    },
    /// Headers that are no object of strings.
    #[error("headers is an object of strings, each under a name of its own that is not empty")]
    InvalidHeaders,
    /// More headers than the limits allow.
    #[error("too many headers; at most {max}, of at most {bytes_max} bytes together, are allowed")]
    HeadersTooLarge {
        /// How many there may be.
        max: usize,
        /// How many bytes they may have together.
        bytes_max: usize,
    },
    /// A command other than publish where only publishing is possible.
    #[error("only publish is possible here, an object a line, such as {EXAMPLE}")]
    NotAPublish,
}

/// A line that works, for those who try by hand.
const EXAMPLE: &str = r#"{"publish":"chat/lobby","data":"hi"}"#;

impl NativeFault {
    /// The fault's name for programs.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }
}

impl NativeFaultKind {
    /// The fault's name for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "not-json",
            Self::TooDeep { .. } => "too-deep",
            Self::NotAnObject => "not-an-object",
            Self::UnknownCommand { .. } => "unknown-command",
            Self::AmbiguousCommand { .. } => "ambiguous-command",
            Self::UnknownField { .. } => "unknown-field",
            Self::RepeatedField { .. } => "repeated-field",
            Self::InvalidId => "invalid-id",
            Self::PingTooLong { .. } | Self::InvalidPingEvery => "invalid-ping",
            Self::ChannelNotText | Self::InvalidChannel(_) => "invalid-channel",
            Self::InvalidCursor => "invalid-cursor",
            Self::InvalidStart { .. } | Self::TwoStarts => "invalid-start",
            Self::InvalidRepair | Self::RepairWithoutAfter => "invalid-repair",
            Self::MissingData | Self::InvalidData { .. } | Self::DataNotJson { .. } => "invalid-data",
            Self::PayloadTooLarge { .. } => "payload-too-large",
            Self::InvalidType => "invalid-type",
            Self::InvalidKey { .. } => "invalid-key",
            Self::InvalidHeaders => "invalid-headers",
            Self::HeadersTooLarge { .. } => "headers-too-large",
            Self::NotAPublish => "not-a-publish",
        }
    }
}

impl From<NativeFaultKind> for NativeFault {
    fn from(kind: NativeFaultKind) -> Self {
        Self { id: None, kind }
    }
}

impl From<JsonFault> for NativeFaultKind {
    fn from(fault: JsonFault) -> Self {
        match fault {
            JsonFault::TooDeep { max } => Self::TooDeep { max },
            fault => Self::DataNotJson { reason: fault.to_string() },
        }
    }
}

fn meant(nearest: &Option<&'static str>) -> String {
    nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default()
}
