//! WebSocket (RFC 6455): bytes to messages and back, and the words of the opening handshake. Used by the server and the lab's clients.
//!
//! A [`Decoder`] turns what a socket read into [`Message`]s; the `write_*` functions lay frames. Nothing here waits or draws chance:
//! a client's masking keys arrive as arguments.

mod assembly;
pub mod close;
mod decode;
pub mod deflate;
mod encode;
mod fault;
mod frame;
pub mod handshake;
mod mask;
mod utf8;

#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use close::CloseFrame;
pub use decode::{Decoder, INPUT_KEPT_BYTES_MAX};
pub use encode::{FrameShape, write_close, write_frame, write_head, write_masked_frame, write_shaped_frame};
pub use fault::WebSocketFault;
pub use frame::Opcode;

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We accepted the connection: the peer must mask its frames.
    Server,
    /// We opened the connection: the peer must not mask its frames.
    Client,
}

/// How much a peer may send before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest message, all its fragments together and, if it was compressed, inflated.
    pub message_bytes_max: usize,
    /// The longest payload of one data frame; a compressed one may have an eighth more, since what will not compress grows.
    pub frame_bytes_max: usize,
    /// The most frames that one message may be cut into.
    pub fragments_max: usize,
}

/// What a peer said, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text; the bytes are valid UTF-8.
    Text(Bytes),
    /// Any bytes.
    Binary(Bytes),
    /// A ping, to be answered with a pong of the same payload.
    Ping(Bytes),
    /// The answer to a ping, or an unasked heartbeat.
    Pong(Bytes),
    /// The peer closes; `None` where it gave no code. Nothing that follows may be acted on.
    Close(Option<CloseFrame>),
}
