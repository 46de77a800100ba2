//! What the engine announced to one worker and the worker has not yet taken. Publishers push, the worker drains.

use std::sync::{Mutex, PoisonError};

use bongsu_core::ChannelName;
use bongsu_core::hub::Announcement;
use tokio::sync::Notify;

/// Announcements on their way to a worker. What waits here is bounded by what publishers do in one turn of the worker.
#[derive(Default)]
pub struct Inbox {
    waiting: Mutex<Vec<Announcement>>,
    /// Channels that take publications again, for which publishers of this worker wait.
    released: Mutex<Vec<ChannelName>>,
    wake: Notify,
}

impl Inbox {
    /// Adds an announcement; the first one wakes the worker, so a turn costs one wake-up however much it brings.
    pub fn push(&self, announcement: Announcement) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(announcement);
        let first = waiting.len() == 1;
        drop(waiting);
        if first {
            self.wake.notify_one();
        }
    }

    /// Swaps what waits with an empty vector, whose capacity is used again.
    pub fn drain_into(&self, taken: &mut Vec<Announcement>) {
        debug_assert!(taken.is_empty(), "the last turn was delivered");
        std::mem::swap(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner), taken);
    }

    /// Says that a channel takes publications again.
    pub fn release(&self, channel: ChannelName) {
        self.released.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
        self.wake.notify_one();
    }

    /// The channels that take publications again.
    pub fn take_released(&self) -> Vec<ChannelName> {
        std::mem::take(&mut *self.released.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something is there.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}
