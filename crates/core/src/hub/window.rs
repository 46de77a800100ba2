//! Subscriptions whose peers answer for what they get: no more is sent than their windows hold, whatever their sockets would take.
//!
//! Who shuts its window costs nobody anything: nothing is queued for it, and what it misses it gets, once it answers, from the tape
//! or from history, with a gap where history was trimmed meanwhile.

use super::segment::Segment;
use super::subscriber::{BEHIND, SHUT};
use super::tape::Member;
use super::{Hub, Sink, Slot, SubscriberKey, Tally};
use crate::position::{Offset, Position};

impl<S: Sink> Hub<S> {
    /// Goes on with a subscription whose peer has answered. Call `pump` next.
    pub fn window_opened(&mut self, key: SubscriberKey, slot: Slot) {
        let Some(subscriber) = self.subscribers.get_mut(key as usize) else { return };
        let Some(subscription) = subscriber.subscriptions.get_mut(slot as usize) else { return };
        if subscription.place == SHUT {
            subscription.place = BEHIND;
        }
    }

    /// Writes as many of a turn's frames to one who was up to date as its window holds. Tells whether it still is up to date.
    pub(super) fn write_within_window(&mut self, member: Member, segment: &Segment, now_ms: u64, taken: &mut Tally) -> bool {
        let Member { subscriber, slot } = member;
        let window = self.subscribers[subscriber as usize].sink.window(slot);
        if window == 0 {
            self.shut(subscriber, slot, segment.first() - 1);
            return false;
        }
        let fits = segment.frames() <= window;
        let cut = (!fits).then(|| segment.first_frames(window));
        let part = cut.as_ref().unwrap_or(segment);
        let written = self.write_live(member, part, now_ms, taken);
        if written {
            // For now, so that what was sent can be told.
            self.subscribers[subscriber as usize].subscriptions[slot as usize].sent = part.last();
        }
        self.note_sent(subscriber, slot, part.first());
        if written && !fits {
            self.shut(subscriber, slot, part.last());
        }
        written && fits
    }

    /// Tells the sink what was sent on a subscription, from `first` to where it stands now.
    pub(super) fn note_sent(&mut self, key: SubscriberKey, slot: Slot, first: Offset) {
        let subscriber = &mut self.subscribers[key as usize];
        let subscription = subscriber.subscriptions[slot as usize];
        let count = (subscription.sent + 1).saturating_sub(first) as usize;
        if count > 0 {
            let epoch = self.channels[self.tapes[subscription.tape as usize].channel as usize].head.epoch;
            subscriber.sink.sent(slot, Position::new(epoch, first), count);
        }
    }

    fn shut(&mut self, key: SubscriberKey, slot: Slot, sent: Offset) {
        let subscription = &mut self.subscribers[key as usize].subscriptions[slot as usize];
        subscription.place = SHUT;
        subscription.sent = sent;
    }
}
