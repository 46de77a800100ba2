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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::{Announcement, History, HubLimits, Written};
    use super::*;
    use crate::directory::Watched;
    use crate::encoding::{Encoder, Encoding, Framing};
    use crate::format::{Format, Forms};
    use crate::limits::{ChannelLimits, PageLimits};
    use crate::log::{Appended, Log, Page};
    use crate::name::ChannelName;
    use crate::position::Epoch;
    use crate::publication::Draft;
    use crate::stomp::MessageForm;

    /// A peer that takes all bytes, but only so many publications.
    #[derive(Clone, Default)]
    struct Peer(Rc<RefCell<Told>>);

    #[derive(Default)]
    struct Told {
        window: usize,
        sent: Vec<Offset>,
        gaps: Vec<Offset>,
    }

    impl Sink for Peer {
        fn try_write(&mut self, _: &Bytes) -> Written {
            Written::All
        }

        fn window(&self, _: Slot) -> usize {
            self.0.borrow().window
        }

        fn sent(&mut self, _: Slot, first: Position, count: usize) {
            let mut told = self.0.borrow_mut();
            told.window -= count;
            told.sent.extend((first.offset..).take(count));
        }

        fn gap_sent(&mut self, _: Slot, resumed: Position) {
            let mut told = self.0.borrow_mut();
            told.window -= 1;
            told.gaps.push(resumed.offset);
        }
    }

    struct OneLog(Log);

    impl History for OneLog {
        fn page(&self, _: &ChannelName, after: Offset, through: Offset, limits: PageLimits) -> Page {
            self.0.page(after, through, limits)
        }

        fn unwatch(&self, _: &ChannelName) {}
    }

    struct Story {
        hub: Hub<Peer>,
        history: OneLog,
        limits: ChannelLimits,
        peer: Peer,
        key: SubscriberKey,
        slot: Slot,
    }

    impl Story {
        /// A channel that retains so many publications, and one who takes so many.
        fn new(publications_max: usize, window: usize) -> Self {
            let limits = ChannelLimits { publications_max, ..ChannelLimits::default() };
            let mut hub = Hub::new(
                Encoder::new(Forms::new(0)),
                HubLimits { tape_bytes_max: 0, tapes_bytes_max: 0, outbox_bytes_max: 1 << 10, stalled_ms_max: 1 },
            );
            let history = OneLog(Log::new(Epoch::from_bits(1), 0));
            let watched = Watched { head: history.0.head(), payload_bytes: 0, limits };
            let channel = hub.add_channel(&ChannelName::parse("a").expect("a name"), watched);
            let peer = Peer::default();
            peer.0.borrow_mut().window = window;
            let key = hub.add(peer.clone());
            let form = hub.encoder_mut().hold_form(&MessageForm::acknowledged_by("0"));
            let encoding = Encoding::new(Format::Stomp(form), Framing::Raw);
            let slot = hub.subscribe(key, channel, encoding, 0);
            hub.encoder_mut().release(encoding);
            hub.pump(key, &history, 0);
            Self { hub, history, limits, peer, key, slot }
        }

        /// Publishes so many in one turn.
        fn publish(&mut self, count: usize) {
            let mut turn = Vec::new();
            for _ in 0..count {
                let Appended::New(publication) = self.history.0.append(Draft::text("x"), None, 0, &self.limits) else { panic!("no key") };
                turn.push(Announcement { channel: ChannelName::parse("a").expect("a name"), publication: Arc::clone(&publication) });
            }
            self.hub.turn(turn, 0);
        }

        fn answer(&mut self, count: usize) {
            self.peer.0.borrow_mut().window += count;
            self.hub.window_opened(self.key, self.slot);
            self.hub.pump(self.key, &self.history, 0);
        }

        fn sent(&self) -> Vec<Offset> {
            std::mem::take(&mut self.peer.0.borrow_mut().sent)
        }
    }

    #[test]
    fn a_turn_is_cut_where_the_window_ends_and_goes_on_where_it_was_cut() {
        let mut story = Story::new(100, 2);
        story.publish(5);
        assert_eq!(story.sent(), [1, 2]);
        story.publish(1);
        assert!(story.sent().is_empty());
        story.answer(3);
        assert_eq!(story.sent(), [3, 4, 5]);
        story.answer(3);
        assert_eq!(story.sent(), [6]);
        story.publish(1);
        assert_eq!(story.sent(), [7], "who is up to date and has room is live again");
    }

    #[test]
    fn who_shuts_its_window_is_not_slow_and_is_told_what_was_trimmed() {
        let mut story = Story::new(2, 1);
        story.publish(10);
        assert!(story.hub.find_slow(&story.history, u64::MAX).is_empty());
        assert_eq!(story.sent(), [1]);
        story.answer(2);
        assert_eq!(story.peer.0.borrow().gaps, [8], "the gap takes a place");
        assert_eq!(story.sent(), [9]);
        story.answer(2);
        assert_eq!(story.sent(), [10]);
    }
}
