//! What is on its way to a worker: announcements, messages of queues, sockets that may be read. Anybody puts in, the worker takes all.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What waits for a worker. Each kind of thing says itself what bounds it.
#[derive(Debug)]
pub struct Mailbox<T> {
    waiting: Mutex<Vec<T>>,
    wake: Notify,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), wake: Notify::default() }
    }
}

impl<T> Mailbox<T> {
    /// Puts something in; the first thing wakes the worker, so a turn costs one wake-up however much it brings.
    pub fn push(&self, thing: T) {
        let mut waiting = self.lock();
        waiting.push(thing);
        let first = waiting.len() == 1;
        drop(waiting);
        if first {
            self.wake();
        }
    }

    /// Wakes the worker, whatever is there.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Swaps what waits with an empty vector, whose capacity is used again.
    pub fn drain_into(&self, taken: &mut Vec<T>) {
        debug_assert!(taken.is_empty(), "what was taken before was dealt with");
        std::mem::swap(&mut *self.lock(), taken);
    }

    /// Takes what waits.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.lock())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Waits until something is there.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    // What is pushed is pushed whole, whatever panics elsewhere.
    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
