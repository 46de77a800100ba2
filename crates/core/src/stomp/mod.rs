//! STOMP 1.0, 1.1 and 1.2: bytes to frames ([`Decoder`]), frames to what the server is to do ([`StompSession`]), and back.
//!
//! `/topic/NAME` and `/NAME` are the channel `NAME`. `SUBSCRIBE` takes `after`, `earliest` or `last`; a `MESSAGE` carries its
//! `position`, and so does the `RECEIPT` of a `SEND`; the `RECEIPT` of a `SUBSCRIBE` carries the `cursor` that it starts at.

mod connect;
mod decode;
mod destination;
mod encode;
mod escape;
mod fault;
mod forms;
mod frame;
mod message;
mod send;
mod session;
mod subscription;
mod transaction;

pub use connect::{Connect, HeartBeat, HeartBeatOffer};
pub use decode::Decoder;
pub use encode::write_frame;
pub use fault::StompFault;
pub use forms::{FormKey, MessageForms};
pub use frame::{Frame, FrameCommand};
pub use message::MessageForm;
pub use session::{Action, Receipt, StompPublish, StompSession, SubscriptionNumber};

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Headers are padded and not escaped; no heart-beats; a subscription's id may be left out.
    V1_0,
    /// Headers are escaped, never trimmed; heart-beats; NACK.
    V1_1,
    /// A line may end with CRLF, so CR is escaped too; ACK names the message by its `ack` header.
    V1_2,
}

/// What a side sends when it has no frame to send and a heart-beat is due.
pub const HEART_BEAT: &[u8] = b"\n";

/// The bounds on what one client may send and keep open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StompLimits {
    /// The largest command and headers of a frame, in bytes.
    pub head_bytes_max: usize,
    /// How many headers a frame may have.
    pub headers_max: usize,
    /// The largest body, in bytes.
    pub body_bytes_max: usize,
    /// The longest id of a subscription, transaction or receipt, and the longest key, in bytes.
    pub id_bytes_max: usize,
    /// How deep JSON may be nested.
    pub depth_max: usize,
    /// How many subscriptions may be open.
    pub subscriptions_max: usize,
    /// How many transactions may be open.
    pub transactions_max: usize,
    /// How many frames all open transactions may hold together.
    pub transaction_frames_max: usize,
    /// How many bytes of payload and headers all open transactions may hold together.
    pub transaction_bytes_max: usize,
    /// How many unacknowledged messages a subscription has in flight if it does not say.
    pub prefetch_default: usize,
    /// How many it may ask for.
    pub prefetch_max: usize,
    /// How many all subscriptions of a client may have in flight together.
    pub prefetch_total_max: usize,
}

impl Default for StompLimits {
    fn default() -> Self {
        Self {
            head_bytes_max: 16 << 10,
            headers_max: 64,
            body_bytes_max: 1 << 20,
            id_bytes_max: 255,
            depth_max: 64,
            subscriptions_max: 1_000,
            transactions_max: 16,
            transaction_frames_max: 10_000,
            transaction_bytes_max: 4 << 20,
            prefetch_default: 100,
            prefetch_max: 10_000,
            prefetch_total_max: 100_000,
        }
    }
}

impl Version {
    /// Every version, the oldest first.
    pub const ALL: [Self; 3] = [Self::V1_0, Self::V1_1, Self::V1_2];

    /// Reads `1.0`, `1.1` or `1.2`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// The version as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }

    /// The WebSocket subprotocol of the version.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::V1_0 => "v10.stomp",
            Self::V1_1 => "v11.stomp",
            Self::V1_2 => "v12.stomp",
        }
    }
}

#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod session_tests;
