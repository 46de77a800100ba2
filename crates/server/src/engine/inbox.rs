//! What the engine announced to one worker and the worker has not yet taken. Publishers push, the worker drains.

use bongsu_core::ChannelName;
use bongsu_core::hub::Announcement;

use crate::mailbox::Mailbox;

/// Announcements on their way to a worker. What waits here is bounded by what publishers do in one turn of the worker.
#[derive(Default)]
pub struct Inbox {
    announced: Mailbox<Announcement>,
    /// Channels that take publications again, for which publishers of this worker wait.
    released: Mailbox<ChannelName>,
}

impl Inbox {
    /// Adds an announcement.
    pub fn push(&self, announcement: Announcement) {
        self.announced.push(announcement);
    }

    /// Swaps what waits with an empty vector, whose capacity is used again.
    pub fn drain_into(&self, taken: &mut Vec<Announcement>) {
        self.announced.drain_into(taken);
    }

    /// Says that a channel takes publications again.
    pub fn release(&self, channel: ChannelName) {
        self.released.push(channel);
        self.announced.wake();
    }

    /// The channels that take publications again.
    pub fn take_released(&self) -> Vec<ChannelName> {
        self.released.take()
    }

    /// Waits until something is there.
    pub async fn woken(&self) {
        self.announced.woken().await;
    }
}
