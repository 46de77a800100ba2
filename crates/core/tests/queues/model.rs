//! What queues should hold: plain lists, searched from end to end.

use std::collections::{BTreeMap, BTreeSet};

use bongsu_core::Draft;
use bongsu_core::queue::{ConsumerKey, Dead, DeadReason, Depth, End, Handed, QueueCounts, QueueLimits, QueueName, Queues, Verdict};

use crate::chance::Chance;

/// Every queue, and the counts that should come out.
pub(crate) struct Model {
    limits: QueueLimits,
    messages: BTreeMap<u64, Record>,
    consumers: BTreeMap<ConsumerKey, (QueueName, usize)>,
    counts: QueueCounts,
    /// What was handed out and not yet checked, in order.
    handed: Vec<Handed>,
    /// What died and was not yet checked: its number, where, and why.
    died: Vec<(u64, QueueName, DeadReason)>,
    expected_to_die: Vec<(u64, QueueName, DeadReason)>,
    /// Dead letters to come, by their new numbers.
    buried: Vec<(u64, QueueName, usize, u64)>,
}

#[derive(Debug, Clone)]
struct Record {
    queue: QueueName,
    cost: usize,
    time_ms: u64,
    deliveries: u32,
    failures: u32,
    is_dead_letter: bool,
    hand: Option<ConsumerKey>,
}

impl Model {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            messages: BTreeMap::new(),
            consumers: BTreeMap::new(),
            counts: QueueCounts::default(),
            handed: Vec::new(),
            died: Vec::new(),
            expected_to_die: Vec::new(),
            buried: Vec::new(),
        }
    }

    pub(crate) fn handed(&mut self, handed: Vec<Handed>) {
        self.handed.extend(handed);
    }

    pub(crate) fn buried(&mut self, dead: &Dead, number: u64, now_ms: u64) {
        let letter = dead.message.dead.as_ref().expect("it tells why");
        self.died.push((dead.message.number, letter.queue.clone(), letter.reason));
        self.buried.push((number, dead.to.clone(), dead.message.cost_bytes(), now_ms));
    }

    pub(crate) fn fits(&self, queue: &QueueName, drafts: &[Draft]) -> bool {
        let (count, bytes) = self.held(queue);
        let more: usize = drafts.iter().map(Draft::cost_bytes).sum();
        count + drafts.len() <= self.limits.messages_max && bytes + more <= self.limits.bytes_max
    }

    pub(crate) fn publish(&mut self, queue: &QueueName, drafts: &[Draft], first: u64, now_ms: u64) {
        self.counts.published += drafts.len() as u64;
        for (number, draft) in (first..).zip(drafts) {
            self.put(number, queue, draft.cost_bytes(), now_ms, false);
        }
    }

    fn put(&mut self, number: u64, queue: &QueueName, cost: usize, time_ms: u64, is_dead_letter: bool) {
        let record = Record { queue: queue.clone(), cost, time_ms, deliveries: 0, failures: 0, is_dead_letter, hand: None };
        self.messages.insert(number, record);
    }

    pub(crate) fn consume(&mut self, queue: &QueueName, key: ConsumerKey, window: usize) {
        self.consumers.insert(key, (queue.clone(), window));
    }

    pub(crate) fn consumers_of(&self, queue: &QueueName) -> usize {
        self.consumers.values().filter(|(of, _)| of == queue).count()
    }

    pub(crate) fn some_consumer(&self, chance: &mut Chance) -> Option<(QueueName, ConsumerKey, Vec<u64>)> {
        let keys: Vec<_> = self.consumers.keys().copied().collect();
        let key = *keys.get(chance.below(keys.len().max(1)))?;
        Some((self.consumers[&key].0.clone(), key, self.hand(key)))
    }

    fn hand(&self, key: ConsumerKey) -> Vec<u64> {
        self.messages.iter().filter(|(_, record)| record.hand == Some(key)).map(|(number, _)| *number).collect()
    }

    pub(crate) fn answer(&mut self, _queue: &QueueName, key: ConsumerKey, numbers: &[u64], verdict: Verdict, _now_ms: u64) {
        for number in numbers {
            if self.messages.get(number).is_none_or(|record| record.hand != Some(key)) {
                continue;
            }
            match verdict {
                Verdict::Done => {
                    self.counts.acked += 1;
                    self.messages.remove(number);
                }
                Verdict::Failed => {
                    self.counts.nacked += 1;
                    self.give_back(*number, End::Lost);
                }
                Verdict::Rejected => {
                    self.counts.nacked += 1;
                    self.die(*number, DeadReason::Rejected);
                }
            }
        }
    }

    pub(crate) fn cancel(&mut self, queue: &QueueName, key: ConsumerKey, end: End, now_ms: u64) {
        self.consumers.remove(&key);
        self.hand(key).into_iter().for_each(|number| self.give_back(number, end));
        self.expire(queue, now_ms);
    }

    fn give_back(&mut self, number: u64, end: End) {
        let record = self.messages.get_mut(&number).expect("it is in hand");
        record.hand = None;
        if end == End::Lost {
            record.failures += 1;
            if self.limits.tries_max > 0 && record.failures >= self.limits.tries_max && !record.is_dead_letter {
                self.die(number, DeadReason::Tries);
            }
        }
    }

    pub(crate) fn expire(&mut self, queue: &QueueName, now_ms: u64) {
        let old = |record: &Record| record.queue == *queue && record.hand.is_none() && record.time_ms + self.limits.age_max_ms <= now_ms;
        let numbers: Vec<_> = self.messages.iter().filter(|(_, record)| old(record)).map(|(number, _)| *number).collect();
        numbers.into_iter().for_each(|number| self.die(number, DeadReason::Expired));
    }

    pub(crate) fn expire_all(&mut self, now_ms: u64) {
        let queues: BTreeSet<_> = self.messages.values().map(|record| record.queue.clone()).collect();
        queues.iter().for_each(|queue| self.expire(queue, now_ms));
        self.settle();
    }

    fn die(&mut self, number: u64, reason: DeadReason) {
        let record = self.messages.remove(&number).expect("it was held");
        *match reason {
            DeadReason::Tries => &mut self.counts.dead_tries,
            DeadReason::Rejected => &mut self.counts.dead_rejected,
            DeadReason::Expired => &mut self.counts.dead_expired,
        } += 1;
        match record.is_dead_letter {
            true => self.counts.dropped += 1,
            false => self.expected_to_die.push((number, record.queue, reason)),
        }
    }

    /// Holds what happened against what should have.
    pub(crate) fn settle(&mut self) {
        let (mut died, mut expected) = (std::mem::take(&mut self.died), std::mem::take(&mut self.expected_to_die));
        died.sort_by_key(|(number, ..)| *number);
        expected.sort_by_key(|(number, ..)| *number);
        assert_eq!(died, expected, "what died should have, for that reason");
        for (number, queue, cost, now_ms) in std::mem::take(&mut self.buried) {
            // The oldest that wait make room.
            let full = |model: &Self| {
                let (count, bytes) = model.held(&queue);
                count >= model.limits.messages_max || bytes + cost > model.limits.bytes_max
            };
            self.take_handed(|handed| handed < number);
            let mut has_room = true;
            while has_room && full(self) {
                let oldest = self.messages.iter().find(|(_, record)| record.queue == queue && record.hand.is_none());
                match oldest.map(|(number, _)| *number) {
                    Some(oldest) => {
                        self.messages.remove(&oldest);
                        self.counts.dropped += 1;
                    }
                    None => has_room = false,
                }
            }
            match has_room {
                true => self.put(number, &queue, cost, now_ms, true),
                false => self.counts.dropped += 1,
            }
        }
        self.take_handed(|_| true);
    }

    /// Checks what was handed out, up to the first that is not yet known.
    fn take_handed(&mut self, is_due: impl Fn(u64) -> bool) {
        while let Some(handed) = self.handed.first().filter(|handed| is_due(handed.message.number)).cloned() {
            self.handed.remove(0);
            let number = handed.message.number;
            let (queue, window) = self.consumers.get(&handed.consumer).cloned().expect("only consumers are handed anything");
            let first = self.messages.iter().find(|(_, record)| record.queue == queue && record.hand.is_none());
            assert_eq!(first.map(|(number, _)| *number), Some(number), "the oldest that waits goes first");
            assert!(self.hand(handed.consumer).len() < window, "no more than the window");
            let record = self.messages.get_mut(&number).expect("it waits");
            record.deliveries += 1;
            record.hand = Some(handed.consumer);
            assert_eq!(handed.deliveries, record.deliveries, "it is told how often it came");
            self.counts.delivered += 1;
            self.counts.redelivered += u64::from(record.deliveries > 1);
        }
    }

    pub(crate) fn restart(&mut self, before: QueueCounts) {
        assert_eq!(before, self.counts);
        self.counts = QueueCounts { delivered: 0, ..QueueCounts::default() };
        self.consumers.clear();
        self.messages.values_mut().for_each(|record| record.hand = None);
    }

    /// What always holds.
    pub(crate) fn check(&self, queues: &Queues, _now_ms: u64) {
        assert!(self.handed.is_empty() && self.died.is_empty() && self.buried.is_empty(), "all was accounted for");
        assert_eq!(queues.counts(), self.counts);
        let in_hand = self.messages.values().filter(|record| record.hand.is_some()).count();
        let names: BTreeSet<_> = self.messages.values().map(|record| &record.queue).collect();
        let bytes = self.messages.values().map(|record| record.cost).sum();
        let consumers = self.consumers.len();
        assert_eq!(queues.depth(), Depth { queues: names.len(), messages: self.messages.len(), in_hand, bytes, consumers });
        for name in names {
            let (count, bytes) = self.held(name);
            assert!(count <= self.limits.messages_max && bytes <= self.limits.bytes_max, "the bounds hold");
            assert_eq!(queues.depth_of(name).messages, count);
            let waits = self.messages.values().any(|record| record.queue == *name && record.hand.is_none());
            let has_room = |(key, (of, window)): (&ConsumerKey, &(QueueName, usize))| of == name && self.hand(*key).len() < *window;
            assert!(!waits || !self.consumers.iter().any(has_room), "nothing waits while somebody has room");
        }
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.counts.delivered
    }

    fn held(&self, queue: &QueueName) -> (usize, usize) {
        let of = || self.messages.values().filter(|record| record.queue == *queue);
        (of().count(), of().map(|record| record.cost).sum())
    }
}
