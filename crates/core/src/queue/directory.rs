//! Every queue of a shard. The engine locks it; it decides all else.

use std::collections::HashMap;
use std::io;

use super::limits::{QueueRules, QueuesLimits};
use super::message::{Held, Message, MessageNumber};
use super::name::QueueName;
use super::one::{Queue, Scene};
use super::{Consumer, ConsumerKey, Dead, Effects, End, QueueCounts, QueueFault, Verdict};
use crate::publication::Draft;
use crate::snapshot::{SnapshotFault, Writer};

/// The queues of one shard. A queue is there while it holds a message or has a consumer.
pub struct Queues {
    queues: HashMap<QueueName, Queue>,
    limits: QueuesLimits,
    rules: QueueRules,
    depth: Depth,
    counts: QueueCounts,
    resting: bool,
    closed: bool,
}

/// How much queues hold at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Queues that hold messages.
    pub queues: usize,
    /// Messages, waiting or in hand.
    pub messages: usize,
    /// Messages in hand, for which no answer has come.
    pub in_hand: usize,
    /// Bytes of messages, each with its overhead.
    pub bytes: usize,
    /// Consumers.
    pub consumers: usize,
}

/// A queue as a snapshot has it: its messages in order, none in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueState {
    /// Its name.
    pub name: QueueName,
    /// What it holds.
    pub messages: Vec<Held>,
}

impl Queues {
    /// No queues.
    pub fn new(limits: QueuesLimits, rules: QueueRules) -> Self {
        let (depth, counts) = (Depth::default(), QueueCounts::default());
        Self { queues: HashMap::new(), limits, rules, depth, counts, resting: false, closed: false }
    }

    /// Takes messages into a queue, all or none, under numbers from `first` on, which is greater than any before.
    pub fn publish(
        &mut self,
        name: &QueueName,
        drafts: Vec<Draft>,
        first: MessageNumber,
        now_ms: u64,
        effects: &mut Effects,
    ) -> Result<(), QueueFault> {
        if name.is_reserved() {
            return Err(QueueFault::Reserved);
        }
        self.check_open()?;
        if self.is_one_too_many(name) {
            return Err(QueueFault::TooManyQueues { max: self.limits.queues_max });
        }
        self.change(name, now_ms, effects, |queue, scene| queue.publish(drafts, first, scene))
    }

    /// Takes a dead letter into its queue, under this number. Where there is no room it is dropped, which is counted.
    pub fn bury(&mut self, dead: Dead, number: MessageNumber, now_ms: u64, effects: &mut Effects) {
        let Dead { to, message } = dead;
        let is_taken = !self.is_one_too_many(&to)
            && self.change(&to, now_ms, effects, |queue, scene| queue.bury(Message { number, ..message }, scene));
        self.counts.dropped += u64::from(!is_taken);
    }

    /// Adds a consumer, which is handed what waits at once.
    pub fn consume(&mut self, name: &QueueName, consumer: Consumer, now_ms: u64, effects: &mut Effects) -> Result<(), QueueFault> {
        self.check_open()?;
        self.change(name, now_ms, effects, |queue, scene| queue.consume(consumer, scene))
    }

    /// Takes a consumer's answer for messages that it has in hand. What it has not is passed over: its queue took it back before.
    pub fn answer(
        &mut self,
        name: &QueueName,
        key: ConsumerKey,
        numbers: &[MessageNumber],
        verdict: Verdict,
        now_ms: u64,
        effects: &mut Effects,
    ) -> Result<(), QueueFault> {
        self.check_open()?;
        self.change(name, now_ms, effects, |queue, scene| queue.answer(key, numbers, verdict, scene));
        Ok(())
    }

    /// Ends a consumer; what it has in hand goes to others.
    pub fn cancel(&mut self, name: &QueueName, key: ConsumerKey, end: End, now_ms: u64, effects: &mut Effects) {
        // What is closed was written down as if all consumers had ended.
        if !self.closed {
            self.change(name, now_ms, effects, |queue, scene| queue.cancel(key, end, scene));
        }
    }

    /// Gives up what is too old. Call it every second or so.
    pub fn sweep(&mut self, now_ms: u64, effects: &mut Effects) {
        if self.closed {
            return;
        }
        let mut names: Vec<_> = self.queues.keys().cloned().collect();
        names.sort();
        names.iter().for_each(|name| self.change(name, now_ms, effects, |queue, scene| queue.expire(scene)));
    }

    /// Hands nothing out from now on: the server is about to end, and what its consumers give back should not go round once more.
    pub fn rest(&mut self) {
        self.resting = true;
    }

    /// Changes nothing from now on, so that a snapshot misses nothing.
    pub fn close(&mut self) {
        (self.resting, self.closed) = (true, true);
    }

    /// Writes all queues down. What is in hand is written as if it had come back.
    pub fn save<W: io::Write>(&self, writer: &mut Writer<W>) -> io::Result<()> {
        for (name, queue) in self.queues.iter().filter(|(_, queue)| queue.len() > 0) {
            writer.queue(name, queue.held().into_values())?;
        }
        Ok(())
    }

    /// Takes up a queue as it was. Nothing is dropped for today's bounds: they refuse what comes.
    pub fn restore(&mut self, state: QueueState) -> Result<(), SnapshotFault> {
        let QueueState { name, messages } = state;
        if self.queues.contains_key(&name) {
            return Err(SnapshotFault::Misplaced { what: "a queue that is there twice" });
        }
        let take_up = |queue: &mut Queue, _: &mut Scene<'_>| messages.into_iter().for_each(|held| queue.restore(held));
        self.change(&name, 0, &mut Effects::default(), take_up);
        Ok(())
    }

    /// Goes on under other limits and rules. Nothing that is held is dropped.
    pub fn reconfigure(&mut self, limits: QueuesLimits, rules: QueueRules) {
        (self.limits, self.rules) = (limits, rules);
        for (name, queue) in &mut self.queues {
            queue.limits = (self.rules)(name);
        }
    }

    /// How much it holds.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// What happened so far.
    pub fn counts(&self) -> QueueCounts {
        self.counts
    }

    /// How much one queue holds.
    pub fn depth_of(&self, name: &QueueName) -> Depth {
        self.queues.get(name).map(Depth::of).unwrap_or_default()
    }

    /// Changes a queue, which is made if it is not there and let go if nothing is left of it.
    fn change<R>(
        &mut self,
        name: &QueueName,
        now_ms: u64,
        effects: &mut Effects,
        change: impl FnOnce(&mut Queue, &mut Scene<'_>) -> R,
    ) -> R {
        let queue = self.queues.entry(name.clone()).or_insert_with_key(|name| Queue::new(name.clone(), (self.rules)(name)));
        self.depth.take_away(Depth::of(queue));
        let result = change(queue, &mut Scene { now_ms, resting: self.resting, counts: &mut self.counts, effects });
        self.depth.add(&Depth::of(queue));
        if queue.is_idle() {
            self.queues.remove(name);
        }
        result
    }

    fn is_one_too_many(&self, name: &QueueName) -> bool {
        self.depth.queues >= self.limits.queues_max && self.queues.get(name).is_none_or(|queue| queue.len() == 0)
    }

    fn check_open(&self) -> Result<(), QueueFault> {
        if self.closed { Err(QueueFault::GoingAway) } else { Ok(()) }
    }
}

impl Depth {
    fn of(queue: &Queue) -> Self {
        let (messages, in_hand, bytes, consumers) = (queue.len(), queue.in_hand(), queue.bytes(), queue.consumers());
        Self { queues: usize::from(messages > 0), messages, in_hand, bytes, consumers }
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.queues += other.queues;
        self.messages += other.messages;
        self.in_hand += other.in_hand;
        self.bytes += other.bytes;
        self.consumers += other.consumers;
    }

    fn take_away(&mut self, other: Self) {
        self.queues -= other.queues;
        self.messages -= other.messages;
        self.in_hand -= other.in_hand;
        self.bytes -= other.bytes;
        self.consumers -= other.consumers;
    }
}
