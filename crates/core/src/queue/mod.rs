//! Queues: each message goes to one of the consumers and is kept, bounded, until that one has answered for it.
//!
//! A second thing beside the channel, and apart from it. The engine locks a [`Queues`] and passes on the [`Effects`] of each call;
//! numbers and time arrive as arguments. Whatever changes what can be handed out ends by handing it out, so nobody has to ask.

mod directory;
mod limits;
mod message;
mod name;
mod one;
#[cfg(test)]
mod tests;

pub use directory::{Depth, QueueState, Queues};
pub use limits::{DeadLetterFault, DeadLetterRule, QueueLimits, QueueRules, QueuesLimits};
pub use message::{DeadLetter, DeadReason, Held, Message, MessageNumber};
pub use name::QueueName;

use std::sync::Arc;

/// A consumer of a queue, by a number that is never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerKey(pub u64);

/// Who wants a queue's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumer {
    /// Its number.
    pub key: ConsumerKey,
    /// The worker that has its connection.
    pub worker: usize,
    /// How many messages it may have in hand.
    pub window: usize,
}

/// What a consumer says of messages that it has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with them: they are gone.
    Done,
    /// It could not do them: they go back to their places, until they failed too often.
    Failed,
    /// Nobody should try them again: they are dead.
    Rejected,
}

/// How a consumer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It took its leave, or the server did: nothing went wrong.
    Leaving,
    /// It is gone without a word: what it had in hand may be why.
    Lost,
}

/// A message on its way to the consumer that now has it in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// The worker that has the consumer's connection.
    pub worker: usize,
    /// Who has it.
    pub consumer: ConsumerKey,
    /// The message.
    pub message: Arc<Message>,
    /// How often it was handed out, this time included.
    pub deliveries: u32,
}

/// A message on its way to a dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// The dead-letter queue.
    pub to: QueueName,
    /// What died; of its number a new one is to be made.
    pub message: Message,
}

/// What a call led to beside its answer. The caller passes it on while it still holds the lock; the dead, after.
#[derive(Debug, Default)]
pub struct Effects {
    /// What was handed out, in the order of handing out.
    pub handed: Vec<Handed>,
    /// What goes to dead-letter queues, in the order of dying.
    pub dead: Vec<Dead>,
}

/// Why a queue did not take what it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the sentence names")]
pub enum QueueFault {
    /// The queue holds all that it may.
    #[error(
        "the queue {queue} is full: it may hold {messages_max} messages and {bytes_max} bytes; send again when consumers have caught up"
    )]
    Full { queue: QueueName, messages_max: usize, bytes_max: usize },
    /// One message that no queue of these bounds could ever hold.
    #[error("the message counts {bytes} bytes, and the queue {queue} may hold {max}; send a smaller one")]
    TooLarge { queue: QueueName, bytes: usize, max: usize },
    /// All queues together hold all that they may.
    #[error("all queues together hold {max} bytes, which is the bound; send again when consumers have caught up")]
    AllFull { max: usize },
    /// One queue more than there may be.
    #[error("{max} queues hold messages, which is the bound; send to one of them, or when one was emptied")]
    TooManyQueues { max: usize },
    /// One consumer more than a queue may have.
    #[error("the queue {queue} has {max} consumers, which is the bound; use a larger prefetch-count instead of more of them")]
    TooManyConsumers { queue: QueueName, max: usize },
    /// The name is the server's own.
    #[error("queues that begin with $ are the server's own: they can be consumed, and only the server sends to them")]
    Reserved,
    /// The server is about to end.
    #[error("the server is going away; try again in a moment")]
    GoingAway,
}

impl QueueFault {
    /// The fault's name for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "queue-full",
            Self::TooLarge { .. } => "queue-message-too-large",
            Self::AllFull { .. } => "queues-full",
            Self::TooManyQueues { .. } => "too-many-queues",
            Self::TooManyConsumers { .. } => "too-many-consumers",
            Self::Reserved => "reserved-queue",
            Self::GoingAway => "going-away",
        }
    }
}

/// What happened to messages since the server began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Taken from publishers.
    pub published: u64,
    /// Handed out, the first time or again.
    pub delivered: u64,
    /// Handed out again.
    pub redelivered: u64,
    /// Answered for as done.
    pub acked: u64,
    /// Answered for as failed or rejected.
    pub nacked: u64,
    /// Died since they failed too often.
    pub dead_tries: u64,
    /// Died since a consumer rejected them.
    pub dead_rejected: u64,
    /// Died of age.
    pub dead_expired: u64,
    /// Given up: what died and has no dead-letter queue, or no place there.
    pub dropped: u64,
}

impl QueueCounts {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.delivered += other.delivered;
        self.redelivered += other.redelivered;
        self.acked += other.acked;
        self.nacked += other.nacked;
        self.dead_tries += other.dead_tries;
        self.dead_rejected += other.dead_rejected;
        self.dead_expired += other.dead_expired;
        self.dropped += other.dropped;
    }
}
