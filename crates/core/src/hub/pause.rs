//! How far the subscribers of a channel have come whose publishers wait for the slowest. The worker tells it to the engine, which
//! holds publishers back.

use smallvec::SmallVec;

use super::subscriber::BEHIND;
use super::{ChannelKey, History, Hub, Sink, Slot, SubscriberKey};
use crate::limits::SlowPolicy;
use crate::name::ChannelName;

/// How far a channel's slowest subscriber on this worker has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The channel.
    pub channel: ChannelName,
    /// Payload bytes of the channel up to there.
    pub payload_bytes: u64,
}

impl<S: Sink> Hub<S> {
    /// The channels whose publishers wait for slow subscribers, as far as something has changed there since this was last asked. Ask it
    /// after each turn and pump, and tell the engine.
    pub fn take_progress(&mut self, history: &impl History) -> Vec<Progress> {
        let stirred = std::mem::take(&mut self.stirred);
        stirred.into_iter().filter_map(|channel| self.progress(channel, history)).collect()
    }

    /// Notes that subscribers of a channel have come further, or less far behind it.
    pub(super) fn stir(&mut self, channel: ChannelKey) {
        let of = &mut self.channels[channel as usize];
        if of.limits.slow == SlowPolicy::Pause && !std::mem::replace(&mut of.stirred, true) {
            self.stirred.push(channel);
        }
    }

    fn progress(&mut self, channel: ChannelKey, history: &impl History) -> Option<Progress> {
        let of = self.channels.get_mut(channel as usize)?;
        of.stirred = false;
        let name = of.name.clone();
        let is_level = of.tapes.iter().all(|&tape| self.tapes[tape as usize].is_level());
        let slowest = if is_level { None } else { self.slowest(channel, history) };
        let of = &self.channels[channel as usize];
        let (whole, lag_bytes_max) = (of.payload_bytes, of.limits.lag_bytes_max);
        let Some((key, slot, payload_bytes)) = slowest else { return Some(Progress { channel: name, payload_bytes: whole }) };
        let subscription = &mut self.subscribers[key as usize].subscriptions[slot as usize];
        if whole - payload_bytes > lag_bytes_max && !std::mem::replace(&mut subscription.holds, true) {
            let encoding = self.tapes[subscription.tape as usize].encoding;
            self.tallies[encoding.index()].holds += 1;
        }
        Some(Progress { channel: name, payload_bytes })
    }

    /// The subscription that has taken the least of a channel, with what it has taken.
    fn slowest(&self, channel: ChannelKey, history: &impl History) -> Option<(SubscriberKey, Slot, u64)> {
        let mut behind: SmallVec<[(u64, SubscriberKey, Slot, u64); 8]> = SmallVec::new();
        for &key in &self.blocked {
            let Some(subscriber) = self.subscribers.get(key as usize) else { continue };
            for (slot, subscription) in (0..).zip(&subscriber.subscriptions) {
                let follows = self.tapes.get(subscription.tape as usize).is_some_and(|tape| tape.channel == channel);
                if follows && subscription.place == BEHIND {
                    behind.push((subscription.sent, key, slot, subscription.base_bytes));
                }
            }
        }
        behind.sort_unstable();
        let mut slowest: Option<(SubscriberKey, Slot, u64)> = None;
        for (sent, key, slot, base_bytes) in behind {
            let taken = self.taken_bytes(channel, sent, base_bytes, history);
            if slowest.is_none_or(|(_, _, least)| taken < least) {
                slowest = Some((key, slot, taken));
            }
            // Whoever was sent more has taken more; only one who was spared what came before it joined may be less far.
            if taken > base_bytes {
                break;
            }
        }
        slowest
    }
}
