//! Channels as bytes that outlive the process: written once at a clean end, read at the next start.
//!
//! A line that names the form, then frames, each a length, a checksum and a record. The checksum covers all frames so far, and
//! the last record says how much there was: what is cut short, changed or out of order is recognised and refused as a whole.
//! Nothing that is read is believed: names, order, offsets, sums and JSON are checked like what a stranger sends.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::hash::Hasher;

use bytes::BufMut;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::log::Log;
use crate::name::{ChannelName, NameFault};
use crate::position::Position;
use crate::queue::QueueState;

pub use read::Reader;
pub use write::Writer;

/// What a snapshot holds, in the order in which it comes: the server, then for each shard its lives, its dormant channels and its
/// channels; at last the queues.
#[derive(Debug)]
pub enum Item {
    /// The server.
    Server(ServerState),
    /// A shard begins: its counters of forgotten lives that are not 0, each with its count.
    Shard(Vec<(u16, u32)>),
    /// A channel that was let go, of which epoch and head are remembered; the longest unused comes first.
    Dormant(ChannelName, Position),
    /// A channel.
    Channel(Box<ChannelState>),
    /// A queue.
    Queue(Box<QueueState>),
}

/// What all shards have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerState {
    /// By which epochs are made.
    pub secret: [u8; 16],
    /// How many shards follow.
    pub shards: u32,
    /// When the snapshot was taken.
    pub taken_ms: u64,
}

/// A channel as it was.
#[derive(Debug)]
pub struct ChannelState {
    pub(crate) name: ChannelName,
    pub(crate) log: Log,
    pub(crate) used_ms: u64,
}

impl ChannelState {
    /// The channel's name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }
}

/// How much a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Channels with a log.
    pub channels: u64,
    /// Channels of which epoch and head are remembered.
    pub dormant: u64,
    /// Publications retained.
    pub publications: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Idempotency keys remembered.
    pub keys: u64,
    /// Queues that hold messages.
    pub queues: u64,
    /// Their messages.
    pub messages: u64,
    /// Bytes of their payloads.
    pub message_bytes: u64,
}

/// Why bytes are no snapshot that can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotFault {
    /// It does not begin as a snapshot of this form.
    #[error("it does not begin as a snapshot of this version")]
    Foreign,
    /// It ends before its last record.
    #[error("it is cut short")]
    CutShort,
    /// Bytes follow the last record.
    #[error("more follows its end")]
    TooLong,
    /// A frame is larger than any publication can be.
    #[error("a frame of {len} bytes, over the limit of {FRAME_BYTES_MAX}")]
    FrameTooLarge {
        /// Its length.
        len: usize,
    },
    /// The bytes are not those that were written.
    #[error("its checksum does not match: bytes were changed")]
    Checksum,
    /// A record cannot be read.
    #[error("a record cannot be read")]
    Record,
    /// A record stands where it cannot.
    #[error("a record of the wrong kind: {what}")]
    Misplaced {
        /// What is wrong with its place.
        what: &'static str,
    },
    /// A value is not possible.
    #[error("a value that cannot be: {what}")]
    Value {
        /// Which.
        what: &'static str,
    },
    /// A channel's name is not allowed.
    #[error(transparent)]
    Name(#[from] NameFault),
}

/// The records. Their places here are their numbers in a snapshot.
#[derive(Debug, Serialize, Deserialize)]
enum Record<'a> {
    Server {
        secret: [u8; 16],
        shards: u32,
        taken_ms: u64,
    },
    Shard {
        lives: Vec<(u16, u32)>,
    },
    Dormant {
        name: &'a str,
        epoch: u64,
        head: u64,
    },
    /// A channel's log up to its oldest publication retained; the publications and keys follow.
    Channel {
        name: &'a str,
        epoch: u64,
        floor: u64,
        floor_bytes: u64,
        newest_ms: u64,
        used_ms: u64,
    },
    Publication(#[serde(borrow)] PublicationRecord<'a>),
    Key {
        publisher: &'a str,
        key: &'a str,
        offset: u64,
        at_ms: u64,
    },
    End(Totals),
    /// A queue; its messages follow.
    Queue {
        name: &'a str,
    },
    Message {
        number: u64,
        deliveries: u32,
        failures: u32,
        #[serde(borrow)]
        dead: Option<DeadRecord<'a>>,
        #[serde(borrow)]
        publication: PublicationRecord<'a>,
    },
}

/// Where a message of a dead-letter queue died.
#[derive(Debug, Serialize, Deserialize)]
struct DeadRecord<'a> {
    queue: &'a str,
    reason: &'a str,
    tries: u32,
    time_ms: u64,
}

/// A publication; its position follows from its place.
#[derive(Debug, Serialize, Deserialize)]
struct PublicationRecord<'a> {
    time_ms: u64,
    data: &'a [u8],
    content_type: &'a str,
    key: Option<&'a str>,
    headers: Vec<(&'a str, &'a str)>,
}

/// Seals frames: each carries a checksum over itself and all before it. Writers and tests of readers use it.
#[derive(Debug, Default)]
pub struct Seal(SipHasher13);

impl Seal {
    /// The checksum once these bytes are added.
    fn over(&mut self, payload: &[u8]) -> u64 {
        self.0.write(payload);
        self.0.write_usize(payload.len());
        self.0.finish()
    }

    /// Appends a record's bytes as a frame.
    pub fn frame(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        out.put_u32_le(payload.len() as u32);
        out.put_u64_le(self.over(payload));
        out.put_slice(payload);
    }
}

/// The line with which a snapshot of this form begins.
pub const SNAPSHOT_MAGIC: &[u8] = b"bongsu snapshot 2\n";

/// The largest frame: a publication of the largest size that can be configured, with its headers.
pub const FRAME_BYTES_MAX: usize = (1 << 30) + (16 << 20);

/// Offsets and sums lie below this, so that a server can go on counting from them.
const COUNT_MAX: u64 = u64::MAX / 2;
