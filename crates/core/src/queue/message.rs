//! A message of a queue, and what became of it so far.

use std::sync::Arc;

use super::name::QueueName;
use crate::publication::Draft;

/// A message's place in its queue. Numbers rise and are not repeated, in any queue, by any server that goes by the same clock.
pub type MessageNumber = u64;

/// A message as its queue took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its place in the queue.
    pub number: MessageNumber,
    /// When the queue took it, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What the publisher gave.
    pub draft: Draft,
    /// Where and why it died, in a dead-letter queue.
    pub dead: Option<Box<DeadLetter>>,
}

/// Where a message died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The queue that it was sent to.
    pub queue: QueueName,
    /// Why.
    pub reason: DeadReason,
    /// How often it had been handed out.
    pub tries: u32,
    /// When that queue had taken it, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// Why a message died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadReason {
    /// It failed too often.
    Tries,
    /// A consumer said that nobody should try it again.
    Rejected,
    /// It waited for too long.
    Expired,
}

/// A message in a queue or in a consumer's hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The message.
    pub message: Arc<Message>,
    /// How often it was handed out.
    pub deliveries: u32,
    /// How often that went wrong.
    pub failures: u32,
}

impl Message {
    /// What it counts against the bounds: as a publication in history would, and what it says of its death.
    pub fn cost_bytes(&self) -> usize {
        self.draft.cost_bytes() + self.dead.as_ref().map_or(0, |dead| dead.queue.as_str().len() + DEAD_OVERHEAD_BYTES)
    }
}

impl DeadReason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Tries, Self::Rejected, Self::Expired];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tries => "tries",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

const DEAD_OVERHEAD_BYTES: usize = 64;
