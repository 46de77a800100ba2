//! The window in which a repeated publish is recognised by its key. Each log has one.

use std::collections::{HashMap, VecDeque};

use crate::position::Offset;

/// Who publishes, and under which key: a repetition of both is the same publication.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The publisher's identity; empty for the anonymous.
    pub publisher: Box<str>,
    /// The key that the publisher chose.
    pub key: Box<str>,
}

/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Keys seen lately, with the offset that each was given. Bounded by count and by age; the oldest goes first.
#[derive(Debug, Default)]
pub struct Window {
    offsets: HashMap<IdempotencyKey, Offset>,
    by_age: VecDeque<(u64, IdempotencyKey)>,
    bytes: usize,
}

impl IdempotencyKey {
    /// A key of a publisher that has not said who it is.
    pub fn anonymous(key: &str) -> Self {
        Self { publisher: "".into(), key: key.into() }
    }

    fn cost_bytes(&self) -> usize {
        2 * (self.publisher.len() + self.key.len()) + KEY_OVERHEAD_BYTES
    }
}

impl Window {
    /// The offset that this key was given, if it is still remembered.
    pub fn find(&self, key: &IdempotencyKey) -> Option<Offset> {
        self.offsets.get(key).copied()
    }

    /// Remembers a key; beyond `keys_max` the oldest is forgotten.
    pub fn remember(&mut self, key: IdempotencyKey, offset: Offset, now_ms: u64, keys_max: usize) {
        if keys_max == 0 {
            return;
        }
        self.bytes += key.cost_bytes();
        self.offsets.insert(key.clone(), offset);
        self.by_age.push_back((now_ms, key));
        self.trim(keys_max);
    }

    /// Forgets what is older than `age_max_ms`.
    pub fn expire(&mut self, now_ms: u64, age_max_ms: u64) {
        while self.by_age.front().is_some_and(|(at, _)| at.saturating_add(age_max_ms) <= now_ms) {
            self.forget_oldest();
        }
    }

    /// Every key with its time and offset, the oldest first.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &IdempotencyKey, Offset)> {
        self.by_age.iter().filter_map(|(at_ms, key)| Some((*at_ms, key, self.find(key)?)))
    }

    /// Remembers a key as it was, behind those put back before; false if it is there already.
    pub fn put_back(&mut self, key: IdempotencyKey, offset: Offset, at_ms: u64) -> bool {
        if self.offsets.insert(key.clone(), offset).is_some() {
            return false;
        }
        self.bytes += key.cost_bytes();
        self.by_age.push_back((at_ms, key));
        true
    }

    /// Forgets the oldest until no more than so many are left.
    pub fn trim(&mut self, keys_max: usize) {
        while self.by_age.len() > keys_max {
            self.forget_oldest();
        }
    }

    /// Forgets the oldest until so many bytes are free, or nothing is remembered.
    pub fn shed(&mut self, bytes: usize) {
        let goal = self.bytes.saturating_sub(bytes);
        while self.bytes > goal {
            self.forget_oldest();
        }
    }

    /// What is remembered, in bytes of memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.pop_front() {
            self.bytes -= key.cost_bytes();
            self.offsets.remove(&key);
        }
    }
}

/// What a remembered key costs beside its text, which is held twice.
const KEY_OVERHEAD_BYTES: usize = 128;
