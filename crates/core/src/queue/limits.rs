//! What one queue may hold, and all of a shard together; and where its dead letters go.

use std::sync::Arc;

use super::name::QueueName;
use crate::name::NameFault;

/// The bounds on one queue. What is in hand counts like what waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLimits {
    /// How many messages it may hold; a publisher of more is refused.
    pub messages_max: usize,
    /// How many bytes it may hold, each message counted with its overhead; a publisher of more is refused.
    pub bytes_max: usize,
    /// How long a message may wait; then it is dead.
    pub age_max_ms: u64,
    /// How many consumers it may have; one more is refused.
    pub consumers_max: usize,
    /// How often a message may fail before it is dead; 0 for ever again.
    pub tries_max: u32,
    /// Where what dies goes.
    pub dead_letters: DeadLetterRule,
}

/// The bounds on the queues of one shard together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuesLimits {
    /// How many queues may hold messages; a publisher to one more is refused.
    pub queues_max: usize,
}

/// The bounds of every queue, by its name.
pub type QueueRules = Arc<dyn Fn(&QueueName) -> QueueLimits + Send + Sync>;

/// To which queue dead letters go: a name in which `*` stands for that of the queue where they died; empty for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRule(Arc<str>);

/// Why a text says no dead-letter queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterFault {
    /// It could not be a queue's name.
    #[error(transparent)]
    Name(#[from] NameFault),
    /// More than one star.
    #[error("* stands for the queue's name; write it once")]
    TwoStars,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            messages_max: 10_000,
            bytes_max: 16 << 20,
            age_max_ms: 86_400_000,
            consumers_max: 1_000,
            tries_max: 10,
            dead_letters: DeadLetterRule::default(),
        }
    }
}

impl Default for DeadLetterRule {
    fn default() -> Self {
        Self("$dead/*".into())
    }
}

impl DeadLetterRule {
    /// Reads `$dead/*`, `dead`, or nothing.
    pub fn parse(text: &str) -> Result<Self, DeadLetterFault> {
        if text.matches('*').count() > 1 {
            return Err(DeadLetterFault::TwoStars);
        }
        if !text.is_empty() {
            QueueName::parse(&text.replace('*', "x"))?;
        }
        Ok(Self(text.into()))
    }

    /// The dead-letter queue of a queue. A name that has no room for the queue's own stands without it.
    pub fn of(&self, queue: &QueueName) -> Option<QueueName> {
        let short = self.0.replace('*', "").replace("//", "/");
        QueueName::parse(&self.0.replace('*', queue.as_str())).or_else(|_| QueueName::parse(short.trim_matches('/'))).ok()
    }
}
