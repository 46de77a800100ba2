//! Who is too slow: judged by how far behind a blocked subscriber's cursor is, in bytes and in time; and what becomes of it, by its
//! channel's policy.

use super::subscriber::{FREE, SHUT};
use super::{History, Hub, Sink, Slot, SubscriberKey};
use crate::disconnect::Disconnect;
use crate::limits::{ChannelLimits, PageLimits, SlowPolicy};
use crate::position::{Offset, Position};

/// How far a subscription is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lag {
    bytes: u64,
    age_ms: u64,
}

/// What becomes of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It goes on.
    Stay,
    /// It passes publications over when it next takes something.
    PassOver,
    /// It ends, and its connection with it.
    Close,
}

impl<S: Sink> Hub<S> {
    /// Finds the blocked subscribers that passed their channel's bounds on lag, and returns those that are to be closed for it. Call it
    /// a few times a second.
    pub fn find_slow(&mut self, history: &impl History, now_ms: u64) -> Vec<(SubscriberKey, Disconnect)> {
        let blocked: Vec<_> = self.blocked.iter().copied().collect();
        blocked.into_iter().filter_map(|key| Some((key, self.slowness(key, history, now_ms)?))).collect()
    }

    /// How long a connection has taken nothing of what waits for it.
    pub fn stalled_ms(&self, key: SubscriberKey, now_ms: u64) -> u64 {
        let outbox = self.subscribers.get(key as usize).and_then(|subscriber| subscriber.outbox.as_ref());
        outbox.map_or(0, |outbox| now_ms.saturating_sub(outbox.progress_ms))
    }

    fn slowness(&mut self, key: SubscriberKey, history: &impl History, now_ms: u64) -> Option<Disconnect> {
        let subscriber = self.subscribers.get(key as usize)?;
        let stalled_ms = self.stalled_ms(key, now_ms);
        // What waits behind a cut frame goes when the goodbye comes. It may say that its start was past a gap.
        let knows_its_start = subscriber.outbox.as_ref().is_none_or(|outbox| !outbox.has_frames());
        let slots = subscriber.subscriptions.len() as Slot;
        let followed = || subscriber.subscriptions.iter().filter(|subscription| subscription.tape != FREE);
        let count = followed().count();
        if followed().all(|subscription| subscription.place == SHUT) {
            // An answer that is not taken: there is no channel to lag behind, only time.
            return (stalled_ms > self.limits.stalled_ms_max).then_some(Disconnect::Slow { cursor: None });
        }
        for slot in 0..slots {
            let Some((verdict, sent)) = self.judge(key, slot, history, stalled_ms, now_ms) else { continue };
            match verdict {
                Verdict::Stay => (),
                Verdict::PassOver => self.subscribers[key as usize].subscriptions[slot as usize].passes_over = true,
                Verdict::Close => return Some(Disconnect::Slow { cursor: (count == 1 && knows_its_start).then_some(sent) }),
            }
        }
        None
    }

    /// What becomes of one subscription, and what was sent on it.
    fn judge(&self, key: SubscriberKey, slot: Slot, history: &impl History, stalled_ms: u64, now_ms: u64) -> Option<(Verdict, Position)> {
        let subscriptions = &self.subscribers[key as usize].subscriptions;
        // Who shut its window has chosen to wait, and may fall off history: it is told a gap when it opens again.
        let subscription = subscriptions.get(slot as usize).filter(|one| one.tape != FREE && one.place != SHUT)?;
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
        let verdict = lag.verdict(&channel.limits, stalled_ms, self.limits.silent_ms_max);
        Some((verdict, Position::new(channel.head.epoch, sent)))
    }

    /// Payload bytes of a channel up to where a subscription has come; what was published before it joined counts as taken.
    pub(super) fn taken_bytes(&self, channel: u32, sent: Offset, base_bytes: u64, history: &impl History) -> u64 {
        let of = &self.channels[channel as usize];
        let next = history.page(&of.name, sent, of.head.offset, ONE).publications.into_iter().next();
        next.map_or(of.payload_bytes, |next| next.bytes_before).max(base_bytes)
    }
}

impl Lag {
    fn verdict(self, limits: &ChannelLimits, stalled_ms: u64, silent_ms_max: u64) -> Verdict {
        let is_long = self.bytes > limits.lag_bytes_max;
        let is_old = self.age_ms > limits.lag_age_max_ms;
        match limits.slow {
            SlowPolicy::Disconnect if is_long || is_old => Verdict::Close,
            // Passing over costs nobody anything, but one who takes nothing at all is probably not there any more.
            SlowPolicy::Drop | SlowPolicy::Conflate if stalled_ms > silent_ms_max => Verdict::Close,
            SlowPolicy::Drop | SlowPolicy::Conflate if is_long || is_old => Verdict::PassOver,
            // Past its bytes it holds its publishers back, which it may only while it takes something. It is closed early enough for
            // those who began to wait when it stopped: they get through before their own time is over.
            SlowPolicy::Pause if is_old || (is_long && stalled_ms > limits.pause_max_ms / 2) => Verdict::Close,
            _ => Verdict::Stay,
        }
    }
}

const ONE: PageLimits = PageLimits { publications_max: 1, bytes_max: 0 };
