//! What a WebSocket peer can do wrong, and the close code that tells it so.

use super::close;

/// A fault of the peer. It ends the connection: the decoder is not to be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebSocketFault {
    /// A client's frame without a mask.
    #[error("the frame is not masked; a client masks every frame")]
    UnmaskedFrame,
    /// A server's frame with a mask.
    #[error("the frame is masked; a server masks none")]
    MaskedFrame,
    /// A reserved bit that no agreed extension gives a meaning.
    #[error("a reserved bit is set and no extension that would use it here was agreed")]
    ReservedBits,
    /// An opcode that RFC 6455 keeps for later.
    #[error("the opcode {opcode:#x} is reserved")]
    ReservedOpcode {
        /// The opcode given.
        opcode: u8,
    },
    /// A ping, pong or close that is not final.
    #[error("a control frame is fragmented; ping, pong and close are sent whole")]
    FragmentedControl,
    /// A ping, pong or close with more than 125 bytes of payload.
    #[error("a control frame has more than 125 bytes of payload")]
    ControlTooLong,
    /// A continuation frame where no message has begun.
    #[error("a continuation frame where no message has begun")]
    UnexpectedContinuation,
    /// A new message before the last one's final fragment.
    #[error("a new message begins before the final fragment of the last one")]
    ExpectedContinuation,
    /// Text, or a close reason, that is not UTF-8.
    #[error("text is not UTF-8; send other bytes as a binary message")]
    InvalidUtf8,
    /// A close code that may not be sent.
    #[error("the close code {code} may not be sent; use 1000 to 1003, 1007 to 1014 or 3000 to 4999")]
    BadCloseCode {
        /// The code given.
        code: u16,
    },
    /// A close frame whose payload is half a code.
    #[error("the close frame has a payload of one byte; a code has two")]
    BadClosePayload,
    /// A length in a longer form than it needs.
    #[error("the payload length is not in its shortest form")]
    NonMinimalLength,
    /// A 64-bit length whose top bit is set.
    #[error("the top bit of the 64-bit payload length is set")]
    LengthTopBit,
    /// A data frame over the limit.
    #[error("a frame of {len} bytes, over the limit of {max}")]
    FrameTooLarge {
        /// How long the frame says it is.
        len: u64,
        /// How long it may be.
        max: usize,
    },
    /// A message over the limit.
    #[error("a message of at least {len} bytes, over the limit of {max}")]
    MessageTooLarge {
        /// How long the message is with the frame that broke the limit.
        len: u64,
        /// How long it may be.
        max: usize,
    },
    /// A compressed message that grows past the limit.
    #[error("a compressed message inflates to more than the limit of {max} bytes")]
    InflatedTooLarge {
        /// How long it may be.
        max: usize,
    },
    /// A compressed message that is not DEFLATE, or was cut short.
    #[error("a compressed message cannot be inflated: its DEFLATE data is wrong or cut short")]
    CorruptDeflate,
    /// A message cut into too many frames.
    #[error("a message of more than {max} fragments")]
    TooManyFragments {
        /// How many it may have.
        max: usize,
    },
}

impl WebSocketFault {
    /// The fault's name, for logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UnmaskedFrame => "unmasked-frame",
            Self::MaskedFrame => "masked-frame",
            Self::ReservedBits => "reserved-bits",
            Self::ReservedOpcode { .. } => "reserved-opcode",
            Self::FragmentedControl => "fragmented-control",
            Self::ControlTooLong => "control-too-long",
            Self::UnexpectedContinuation => "unexpected-continuation",
            Self::ExpectedContinuation => "expected-continuation",
            Self::InvalidUtf8 => "invalid-utf8",
            Self::BadCloseCode { .. } => "bad-close-code",
            Self::BadClosePayload => "bad-close-payload",
            Self::NonMinimalLength => "non-minimal-length",
            Self::LengthTopBit => "length-top-bit",
            Self::FrameTooLarge { .. } => "frame-too-large",
            Self::MessageTooLarge { .. } => "message-too-large",
            Self::InflatedTooLarge { .. } => "inflated-too-large",
            Self::CorruptDeflate => "corrupt-deflate",
            Self::TooManyFragments { .. } => "too-many-fragments",
        }
    }

    /// The close code that the peer is told. RFC 6455, 7.4.1.
    pub fn close_code(&self) -> u16 {
        match self {
            Self::InvalidUtf8 | Self::CorruptDeflate => close::INVALID_PAYLOAD,
            Self::FrameTooLarge { .. } | Self::MessageTooLarge { .. } | Self::InflatedTooLarge { .. } => close::TOO_BIG,
            // A message can be refused for its fragments though it is short: that is our policy, not a broken rule.
            Self::TooManyFragments { .. } => close::POLICY,
            _ => close::PROTOCOL_ERROR,
        }
    }
}
