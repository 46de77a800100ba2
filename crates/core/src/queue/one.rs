//! One queue: what waits, who consumes, and who has what in hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::limits::QueueLimits;
use super::message::{DeadLetter, DeadReason, Held, Message, MessageNumber};
use super::name::QueueName;
use super::{Consumer, ConsumerKey, Dead, Effects, End, Handed, QueueCounts, QueueFault, Verdict};
use crate::publication::Draft;

/// One queue.
#[derive(Debug)]
pub(super) struct Queue {
    name: QueueName,
    pub(super) limits: QueueLimits,
    /// By number, so that what comes back finds its place.
    waiting: BTreeMap<MessageNumber, Held>,
    consumers: BTreeMap<ConsumerKey, Consuming>,
    /// The consumers with room in their windows, each once; the first is next.
    ready: VecDeque<ConsumerKey>,
    /// How many messages are in hand.
    in_hand: usize,
    /// What it holds, waiting or in hand.
    bytes: usize,
}

/// A consumer and what it has in hand, which is no more than its window.
#[derive(Debug)]
struct Consuming {
    worker: usize,
    window: usize,
    hand: BTreeMap<MessageNumber, Held>,
}

/// What a change to a queue needs beside it.
pub(super) struct Scene<'a> {
    pub(super) now_ms: u64,
    /// Whether nothing more is handed out.
    pub(super) resting: bool,
    pub(super) counts: &'a mut QueueCounts,
    pub(super) effects: &'a mut Effects,
}

impl Queue {
    pub(super) fn new(name: QueueName, limits: QueueLimits) -> Self {
        let (waiting, consumers, ready) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self { name, limits, waiting, consumers, ready, in_hand: 0, bytes: 0 }
    }

    /// Takes messages, all or none, under numbers from `first` on.
    pub(super) fn publish(&mut self, drafts: Vec<Draft>, first: MessageNumber, scene: &mut Scene<'_>) -> Result<(), QueueFault> {
        self.expire(scene);
        self.check_room(&drafts)?;
        scene.counts.published += drafts.len() as u64;
        for (number, draft) in (first..).zip(drafts) {
            self.put(Message { number, time_ms: scene.now_ms, draft, dead: None });
        }
        self.hand_out(scene);
        Ok(())
    }

    fn check_room(&self, drafts: &[Draft]) -> Result<(), QueueFault> {
        let QueueLimits { messages_max, bytes_max, .. } = self.limits;
        let queue = || self.name.clone();
        if let Some(bytes) = drafts.iter().map(Draft::cost_bytes).find(|&bytes| bytes > bytes_max) {
            return Err(QueueFault::TooLarge { queue: queue(), bytes, max: bytes_max });
        }
        let bytes: usize = drafts.iter().map(Draft::cost_bytes).sum();
        let full = self.len() + drafts.len() > messages_max || self.bytes + bytes > bytes_max;
        if full { Err(QueueFault::Full { queue: queue(), messages_max, bytes_max }) } else { Ok(()) }
    }

    /// Takes a dead letter, if need be in place of the oldest that wait. Tells whether it did.
    pub(super) fn bury(&mut self, message: Message, scene: &mut Scene<'_>) -> bool {
        let cost = message.cost_bytes();
        let is_full = |queue: &Self| queue.len() >= queue.limits.messages_max || queue.bytes + cost > queue.limits.bytes_max;
        while is_full(self) {
            let Some((_, oldest)) = self.waiting.pop_first() else { return false };
            self.bytes -= oldest.message.cost_bytes();
            scene.counts.dropped += 1;
        }
        self.put(message);
        self.hand_out(scene);
        true
    }

    /// Takes up a message as a snapshot has it.
    pub(super) fn restore(&mut self, held: Held) {
        self.bytes += held.message.cost_bytes();
        self.waiting.insert(held.message.number, held);
    }

    fn put(&mut self, message: Message) {
        self.restore(Held { message: Arc::new(message), deliveries: 0, failures: 0 });
    }

    pub(super) fn consume(&mut self, consumer: Consumer, scene: &mut Scene<'_>) -> Result<(), QueueFault> {
        let max = self.limits.consumers_max;
        if self.consumers.len() >= max {
            return Err(QueueFault::TooManyConsumers { queue: self.name.clone(), max });
        }
        let Consumer { key, worker, window } = consumer;
        self.consumers.insert(key, Consuming { worker, window, hand: BTreeMap::new() });
        if window > 0 {
            self.ready.push_back(key);
        }
        self.expire(scene);
        self.hand_out(scene);
        Ok(())
    }

    /// Takes a consumer's answer. What it has not in hand is passed over.
    pub(super) fn answer(&mut self, key: ConsumerKey, numbers: &[MessageNumber], verdict: Verdict, scene: &mut Scene<'_>) {
        let Some(consumer) = self.consumers.get_mut(&key) else { return };
        let was_full = consumer.hand.len() >= consumer.window;
        let answered: Vec<_> = numbers.iter().filter_map(|number| consumer.hand.remove(number)).collect();
        if was_full && consumer.hand.len() < consumer.window {
            self.ready.push_back(key);
        }
        self.in_hand -= answered.len();
        for held in answered {
            match verdict {
                Verdict::Done => {
                    scene.counts.acked += 1;
                    self.bytes -= held.message.cost_bytes();
                }
                Verdict::Failed => {
                    scene.counts.nacked += 1;
                    self.give_back(held, End::Lost, scene);
                }
                Verdict::Rejected => {
                    scene.counts.nacked += 1;
                    self.give_up(&held, DeadReason::Rejected, scene);
                }
            }
        }
        self.hand_out(scene);
    }

    /// Ends a consumer: what it has in hand goes back.
    pub(super) fn cancel(&mut self, key: ConsumerKey, end: End, scene: &mut Scene<'_>) {
        let Some(consumer) = self.consumers.remove(&key) else { return };
        self.ready.retain(|ready| *ready != key);
        self.in_hand -= consumer.hand.len();
        consumer.hand.into_values().for_each(|held| self.give_back(held, end, scene));
        self.expire(scene);
        self.hand_out(scene);
    }

    /// Gives up what has waited for too long. The oldest number is the oldest message.
    pub(super) fn expire(&mut self, scene: &mut Scene<'_>) {
        while let Some(oldest) = self.waiting.first_entry() {
            if oldest.get().message.time_ms.saturating_add(self.limits.age_max_ms) > scene.now_ms {
                return;
            }
            let held = oldest.remove();
            self.give_up(&held, DeadReason::Expired, scene);
        }
    }

    /// What it holds, in order: what is in hand as if it had come back.
    pub(super) fn held(&self) -> BTreeMap<MessageNumber, &Held> {
        let in_hand = self.consumers.values().flat_map(|consumer| &consumer.hand);
        self.waiting.iter().chain(in_hand).map(|(number, held)| (*number, held)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.in_hand
    }

    pub(super) fn in_hand(&self) -> usize {
        self.in_hand
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn consumers(&self) -> usize {
        self.consumers.len()
    }

    /// Whether there is no reason for it to be.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.consumers.is_empty()
    }

    /// Hands out what waits, a message to each consumer with room, in turn.
    fn hand_out(&mut self, scene: &mut Scene<'_>) {
        while !scene.resting && !self.ready.is_empty() {
            let Some((number, mut held)) = self.waiting.pop_first() else { return };
            let key = self.ready.pop_front().expect("a consumer is ready");
            let consumer = self.consumers.get_mut(&key).expect("who is ready is there");
            held.deliveries = held.deliveries.saturating_add(1);
            let Held { message, deliveries, .. } = &held;
            scene.counts.delivered += 1;
            scene.counts.redelivered += u64::from(*deliveries > 1);
            let (message, deliveries) = (Arc::clone(message), *deliveries);
            scene.effects.handed.push(Handed { worker: consumer.worker, consumer: key, message, deliveries });
            consumer.hand.insert(number, held);
            self.in_hand += 1;
            if consumer.hand.len() < consumer.window {
                self.ready.push_back(key);
            }
        }
    }

    /// Puts back what was in hand, at its old place, unless it failed once too often.
    fn give_back(&mut self, mut held: Held, end: End, scene: &mut Scene<'_>) {
        if end == End::Lost {
            held.failures = held.failures.saturating_add(1);
            // A dead letter has nowhere else to go, so it may fail for ever.
            let tries_max = self.limits.tries_max;
            if tries_max > 0 && held.failures >= tries_max && held.message.dead.is_none() {
                return self.give_up(&held, DeadReason::Tries, scene);
            }
        }
        self.waiting.insert(held.message.number, held);
    }

    /// Sends a message to the dead-letter queue, or drops it. A dead letter does not die twice.
    fn give_up(&mut self, held: &Held, reason: DeadReason, scene: &mut Scene<'_>) {
        let Message { number, time_ms, draft, dead } = &*held.message;
        self.bytes -= held.message.cost_bytes();
        *match reason {
            DeadReason::Tries => &mut scene.counts.dead_tries,
            DeadReason::Rejected => &mut scene.counts.dead_rejected,
            DeadReason::Expired => &mut scene.counts.dead_expired,
        } += 1;
        let to = if dead.is_some() { None } else { self.limits.dead_letters.of(&self.name) };
        let Some(to) = to.filter(|to| *to != self.name) else {
            scene.counts.dropped += 1;
            return;
        };
        let letter = DeadLetter { queue: self.name.clone(), reason, tries: held.deliveries, time_ms: *time_ms };
        let message = Message { number: *number, time_ms: scene.now_ms, draft: draft.clone(), dead: Some(Box::new(letter)) };
        scene.effects.dead.push(Dead { to, message });
    }
}
