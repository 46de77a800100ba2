//! Compression of messages: permessage-deflate (RFC 7692). Agreed upon in the handshake, then used by the decoder and by whoever lays frames.
//!
//! Without context takeover, which is the default, a connection holds no state of ours: a worker's one [`Inflater`] serves all its
//! connections, and a frame that a [`Deflater`] has compressed serves all who agreed to the same window.

mod compress;
mod header;
mod inflate;
mod negotiate;
mod shared;

pub use compress::Deflater;
pub use header::EXTENSION;
pub use inflate::Inflater;
pub(super) use inflate::Task;
pub use negotiate::{AnswerFault, negotiate, offer, read_answer};
pub use shared::{Compressions, Deflaters, Window};

use super::Role;

/// The smallest window that we compress with: zlib has none of 8 bits without its own header.
pub const WINDOW_BITS_MIN: u8 = 9;
/// The largest window of DEFLATE, and the one meant where none is named.
pub const WINDOW_BITS_MAX: u8 = 15;

/// What we are ready to agree to, and how we compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateConfig {
    /// Whether to agree at all.
    pub enabled: bool,
    /// Whether messages may refer back to earlier ones: better compression, up to 50 KiB for each inflater and some 300 KiB for each deflater.
    pub context_takeover: bool,
    /// The smallest window to compress with, 9 to 15 bits; an offer that wants a smaller one is declined.
    pub window_bits_min: u8,
    /// The largest window, 9 to 15 bits, for us to compress with and for the peer where it lets us choose.
    pub window_bits_max: u8,
    /// From 1, fast, to 9, small.
    pub level: u8,
    /// Payloads shorter than this are sent as they are.
    pub threshold_bytes: usize,
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            context_takeover: false,
            window_bits_min: WINDOW_BITS_MIN,
            window_bits_max: WINDOW_BITS_MAX,
            level: 3,
            threshold_bytes: 256,
        }
    }
}

/// What client and server agreed upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// The server compresses each message by itself.
    pub server_no_context_takeover: bool,
    /// The client compresses each message by itself.
    pub client_no_context_takeover: bool,
    /// The server's window, where it was named.
    pub server_max_window_bits: Option<u8>,
    /// The client's window, where it was named.
    pub client_max_window_bits: Option<u8>,
}

/// How the messages of one direction are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// Whether a message may refer back to the ones before it.
    pub context_takeover: bool,
    /// How far it may refer back, as a power of two.
    pub window_bits: u8,
}

impl Agreed {
    /// What is left of it where each message is compressed once for all who get it, and so can refer to no other.
    ///
    /// RFC 7692, 7.1.1.1, lets a server say so unasked, and then a client need not keep what came before.
    pub fn without_server_context(self) -> Self {
        Self { server_no_context_takeover: true, ..self }
    }

    /// How we compress what we send.
    pub fn outgoing(&self, role: Role) -> Direction {
        match role {
            Role::Server => Direction::of(self.server_no_context_takeover, self.server_max_window_bits),
            Role::Client => Direction::of(self.client_no_context_takeover, self.client_max_window_bits),
        }
    }

    /// How the peer compresses what we receive.
    pub fn incoming(&self, role: Role) -> Direction {
        match role {
            Role::Server => self.outgoing(Role::Client),
            Role::Client => self.outgoing(Role::Server),
        }
    }
}

impl Direction {
    fn of(no_context_takeover: bool, window_bits: Option<u8>) -> Self {
        Self { context_takeover: !no_context_takeover, window_bits: window_bits.unwrap_or(WINDOW_BITS_MAX) }
    }
}

/// What RFC 7692, 7.2.1, has the sender cut off each message and the receiver put back.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
