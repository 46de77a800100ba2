//! Who is too slow: judged by how far behind a blocked subscriber's cursor is, in bytes and in time.

use super::subscriber::{FREE, SHUT};
use super::{History, Hub, Sink, SubscriberKey};
use crate::disconnect::Disconnect;
use crate::limits::PageLimits;
use crate::position::Position;

/// How far a subscription is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lag {
    bytes: u64,
    age_ms: u64,
}

impl<S: Sink> Hub<S> {
    /// Finds the blocked subscribers that passed their channel's lag bounds. Call it a few times a second.
    pub fn find_slow(&self, history: &impl History, now_ms: u64) -> Vec<(SubscriberKey, Disconnect)> {
        self.blocked.iter().filter_map(|&key| Some((key, self.slowness(key, history, now_ms)?))).collect()
    }

    fn slowness(&self, key: SubscriberKey, history: &impl History, now_ms: u64) -> Option<Disconnect> {
        let subscriber = self.subscribers.get(key as usize)?;
        let stalled_ms = subscriber.outbox.as_ref().map_or(0, |outbox| now_ms.saturating_sub(outbox.progress_ms));
        let followed = || subscriber.subscriptions.iter().filter(|subscription| subscription.tape != FREE);
        // Who shut its window has chosen to wait, and may fall off history: it is told a gap when it opens again.
        let judged = || followed().filter(|subscription| subscription.place != SHUT);
        let count = followed().count();
        if judged().next().is_none() {
            // An answer that is not taken: there is no channel to lag behind, only time.
            return (stalled_ms > self.limits.stalled_ms_max).then_some(Disconnect::Slow { cursor: None });
        }
        judged().find_map(|subscription| {
            let tape = &self.tapes[subscription.tape as usize];
            let channel = &self.channels[tape.channel as usize];
            let sent = if subscription.is_live() { tape.through } else { subscription.sent };
            let next = history.page(&channel.name, sent, channel.head.offset, ONE).publications.into_iter().next();
            let lag = match next {
                // What was published before it came is catch-up: there only standing still counts.
                Some(next) if next.bytes_before < subscription.base_bytes => {
                    Lag { bytes: channel.payload_bytes - subscription.base_bytes, age_ms: stalled_ms }
                }
                Some(next) => Lag { bytes: channel.payload_bytes - next.bytes_before, age_ms: now_ms.saturating_sub(next.time_ms) },
                None => Lag { bytes: 0, age_ms: stalled_ms },
            };
            let slow = lag.bytes > channel.limits.lag_bytes_max || lag.age_ms > channel.limits.lag_age_max_ms;
            slow.then(|| Disconnect::Slow { cursor: (count == 1).then(|| Position::new(channel.head.epoch, sent)) })
        })
    }
}

const ONE: PageLimits = PageLimits { publications_max: 1, bytes_max: 0 };
