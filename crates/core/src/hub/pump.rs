//! Catching up: what one connection still has to get, as far as its sink takes it.

use std::sync::Arc;

use super::segment::Segment;
use super::subscriber::{BEHIND, SHUT};
use super::tape::{Member, Tape};
use super::turn::{lay_own, outbox_of};
use super::{History, Hub, HubEvent, Sink, Slot, SubscriberKey, Tally, Written};
use crate::composite::Composite;
use crate::disconnect::Disconnect;
use crate::limits::PageLimits;
use crate::position::{Cursor, Position};
use crate::publication::Publication;
use crate::start::{Gap, GapReason};

/// How far a pump came.
enum Step {
    /// There may be more.
    More,
    /// The sink takes no more, or the connection is closing.
    Stop,
}

impl<S: Sink> Hub<S> {
    /// Sends what waits for a connection: its own frames first, then each channel it is behind on, in turn. Call it after a
    /// subscribe or a send, and when a blocked sink takes more.
    pub fn pump(&mut self, key: SubscriberKey, history: &impl History, now_ms: u64) {
        let Some(subscriber) = self.subscribers.get_mut(key as usize) else { return };
        subscriber.blocked = false;
        self.blocked.remove(&key);
        for _ in 0..CHUNKS_MAX {
            if let Step::Stop = self.flush_outbox(key, now_ms) {
                return;
            }
            let Some(slot) = self.subscribers[key as usize].next_behind() else { return };
            if let Step::Stop = self.catch_up(key, slot, history, now_ms) {
                return;
            }
        }
        // Others have their turn before it goes on.
        self.block(key);
    }

    fn flush_outbox(&mut self, key: SubscriberKey, now_ms: u64) -> Step {
        let subscriber = &mut self.subscribers[key as usize];
        let Some(outbox) = subscriber.outbox.as_mut() else { return Step::More };
        match outbox.flush(&mut subscriber.sink, now_ms) {
            Written::All => {
                subscriber.outbox = None;
                return Step::More;
            }
            Written::Part(_) => self.block(key),
            Written::Gone => self.events.push(HubEvent::Gone(key)),
        }
        Step::Stop
    }

    /// Sends the next chunk of one subscription: from the tape while it reaches back, else from history.
    fn catch_up(&mut self, key: SubscriberKey, slot: Slot, history: &impl History, now_ms: u64) -> Step {
        let subscription = self.subscribers[key as usize].subscriptions[slot as usize];
        let tape = &mut self.tapes[subscription.tape as usize];
        if subscription.sent >= tape.through {
            let place = tape.live.len() as u32;
            tape.live.push(Member { subscriber: key, slot });
            self.subscribers[key as usize].subscriptions[slot as usize].place = place;
            self.settle(subscription.tape);
            return Step::More;
        }
        let (encoding, windowed) = (tape.encoding, tape.windowed);
        let window = if windowed { self.subscribers[key as usize].sink.window(slot) } else { usize::MAX };
        if window == 0 {
            self.subscribers[key as usize].subscriptions[slot as usize].place = SHUT;
            return Step::More;
        }
        let held = if encoding.own { None } else { tape.after(subscription.sent, CHUNK_BYTES) };
        if let Some(segment) = held {
            let segment = if segment.frames() > window { segment.first_frames(window) } else { segment };
            return self.write_behind(key, slot, &segment, now_ms);
        }
        let (through, channel) = (tape.through, tape.channel as usize);
        let of = &self.channels[channel];
        let page = history.page(
            &of.name,
            subscription.sent,
            through,
            PageLimits { publications_max: CHUNK_FRAMES.min(window), bytes_max: CHUNK_BYTES },
        );
        let reached = Position::new(of.head.epoch, subscription.sent);
        if page.floor.offset > subscription.sent {
            let resumed = Position::new(of.head.epoch, page.floor.offset.min(through));
            return self.tell_gap(key, slot, Gap { asked: Cursor::from(reached), resumed, reason: GapReason::Trimmed }, now_ms);
        }
        let segment = self.lay_behind(key, slot, &page.publications, now_ms);
        self.write_behind(key, slot, &segment, now_ms)
    }

    fn lay_behind(&mut self, key: SubscriberKey, slot: Slot, publications: &[Arc<Publication>], now_ms: u64) -> Segment {
        let subscriber = &mut self.subscribers[key as usize];
        let tape = &self.tapes[subscriber.subscriptions[slot as usize].tape as usize];
        let name = &self.channels[tape.channel as usize].name;
        let composite = subscriber.composite.as_deref_mut().map(|composite| (composite, slot));
        lay_own(&self.encoder, tape.encoding, name, composite, publications, now_ms)
    }

    fn write_behind(&mut self, key: SubscriberKey, slot: Slot, segment: &Segment, now_ms: u64) -> Step {
        let subscriber = &mut self.subscribers[key as usize];
        let subscription = &mut subscriber.subscriptions[slot as usize];
        debug_assert_eq!(subscription.place, BEHIND, "only who is behind catches up");
        let (through, rest) = match subscriber.sink.try_write(segment.bytes()) {
            Written::All => (segment.last(), None),
            Written::Part(written) => {
                let cut = segment.cut(written);
                (cut.through, Some(cut.rest))
            }
            Written::Gone => {
                self.events.push(HubEvent::Gone(key));
                return Step::Stop;
            }
        };
        let deliveries = (through + 1).saturating_sub(segment.first());
        subscription.sent = through;
        let Tape { encoding, windowed, .. } = self.tapes[subscription.tape as usize];
        if windowed {
            self.note_sent(key, slot, segment.first());
        }
        let subscriber = &mut self.subscribers[key as usize];
        self.tallies[encoding.index()].add(Tally { deliveries, bytes: segment.bytes_through(through) });
        let Some(rest) = rest else { return Step::More };
        let outbox = outbox_of(subscriber, now_ms);
        outbox.progress_ms = if deliveries > 0 { now_ms } else { outbox.progress_ms };
        outbox.cut(rest);
        self.rewind_composite(key, slot);
        self.block(key);
        Step::Stop
    }

    /// Says a loss where the format has room for it; where it has none, the connection must close rather than be silent.
    fn tell_gap(&mut self, key: SubscriberKey, slot: Slot, gap: Gap, now_ms: u64) -> Step {
        let subscriber = &mut self.subscribers[key as usize];
        let subscription = &mut subscriber.subscriptions[slot as usize];
        let tape = &self.tapes[subscription.tape as usize];
        let name = &self.channels[tape.channel as usize].name;
        self.gaps.push(gap.reason);
        if let Some(composite) = &mut subscriber.composite {
            composite.advance(slot as usize, gap.resumed);
        }
        let composite = subscriber.composite.as_deref().map(Composite::as_str);
        let mut record = bytes::BytesMut::new();
        if !self.encoder.gap(tape.encoding, name, &gap, composite, &mut record) {
            // The cursor stays before the gap, so that nothing is sent past it, whatever comes before the close.
            self.events.push(HubEvent::Close(key, Disconnect::Gap { channel: name.clone(), gap }));
            return Step::Stop;
        }
        subscription.sent = gap.resumed.offset;
        if tape.windowed {
            subscriber.sink.gap_sent(slot, gap.resumed);
        }
        // A gap record is small and replaces what would have been far more: it is not held to the outbox's bound.
        if outbox_of(subscriber, now_ms).push(record.freeze(), usize::MAX).is_err() {
            return Step::Stop;
        }
        Step::More
    }
}

/// How much of one channel's history is encoded and written at a time.
const CHUNK_BYTES: usize = 64 << 10;
const CHUNK_FRAMES: usize = 512;
/// How many chunks a connection gets before others have their turn.
const CHUNKS_MAX: usize = 16;
