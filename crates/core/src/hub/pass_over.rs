//! Passing over: what a subscriber that was too slow gets instead of everything, by its channel's policy. Whatever it does not get is
//! told as a gap, where it would have been.

use std::sync::Arc;

use bytes::BytesMut;

use super::pump::{CHUNK_BYTES, CHUNK_FRAMES, Step};
use super::turn::outbox_of;
use super::{History, Hub, HubEvent, Sink, Slot, SubscriberKey, Tally, Written};
use crate::composite::Composite;
use crate::limits::{PageLimits, SlowPolicy};
use crate::position::{Cursor, Offset, Position};
use crate::publication::Publication;
use crate::start::{Gap, GapReason};

/// Frames with holes between them, each of which is told in the frame after it.
#[derive(Debug, Default)]
struct Sparse {
    bytes: BytesMut,
    frames: Vec<SparseFrame>,
}

/// A publication, and the gap before it if there is one.
#[derive(Debug, Clone, Copy)]
struct SparseFrame {
    end: usize,
    /// How many publications the gap passes over.
    passed_over: u64,
    offset: Offset,
}

impl<S: Sink> Hub<S> {
    /// Sends a subscription that passes over what its policy leaves of the way to its tape's end. `None` if there is nothing to pass
    /// over after all.
    pub(super) fn pass_over(&mut self, key: SubscriberKey, slot: Slot, history: &impl History, now_ms: u64) -> Option<Step> {
        let subscription = self.subscribers[key as usize].subscriptions[slot as usize];
        let tape = &self.tapes[subscription.tape as usize];
        let limits = self.channels[tape.channel as usize].limits;
        match limits.slow {
            SlowPolicy::Drop => self.drop_behind(key, slot, history, now_ms),
            SlowPolicy::Conflate => Some(self.conflate(key, slot, history, now_ms)),
            // Another policy holds by now.
            SlowPolicy::Disconnect | SlowPolicy::Pause => {
                self.subscribers[key as usize].subscriptions[slot as usize].passes_over = false;
                None
            }
        }
    }

    /// Goes on where half of what the bounds allow is left, so that it does not fall straight back behind them.
    fn drop_behind(&mut self, key: SubscriberKey, slot: Slot, history: &impl History, now_ms: u64) -> Option<Step> {
        let subscription = &mut self.subscribers[key as usize].subscriptions[slot as usize];
        let sent = subscription.sent;
        let tape = &self.tapes[subscription.tape as usize];
        let of = &self.channels[tape.channel as usize];
        let since_ms = now_ms.saturating_sub(of.limits.lag_age_max_ms / 2);
        let resumed = history.recent(&of.name, tape.through, of.limits.lag_bytes_max / 2, since_ms);
        if resumed <= sent {
            subscription.passes_over = false;
            return None;
        }
        let step = self.tell_loss(key, slot, resumed, GapReason::Dropped, now_ms);
        if let Step::More = step {
            self.subscribers[key as usize].subscriptions[slot as usize].passes_over = false;
        }
        Some(step)
    }

    /// Sends the next of the newest publications of each key. It goes on so until it has reached its tape's end.
    fn conflate(&mut self, key: SubscriberKey, slot: Slot, history: &impl History, now_ms: u64) -> Step {
        let subscription = self.subscribers[key as usize].subscriptions[slot as usize];
        let tape = &self.tapes[subscription.tape as usize];
        let of = &self.channels[tape.channel as usize];
        // Where the peer answers for each, a gap and a publication have a place in its window each, and go one by one.
        let publications_max = if tape.windowed { 1 } else { CHUNK_FRAMES };
        let limits = PageLimits { publications_max, bytes_max: CHUNK_BYTES };
        let page = history.latest(&of.name, subscription.sent, tape.through, limits);
        if page.floor.offset > subscription.sent {
            // What history no longer holds may have been the newest of its key: that is another loss than conflation.
            return self.tell_loss(key, slot, page.floor.offset.min(tape.through), GapReason::Trimmed, now_ms);
        }
        let Some(next) = page.publications.first() else {
            // All that is left was published to again past the tape's end, and comes from there.
            return self.tell_loss(key, slot, tape.through, GapReason::Conflated, now_ms);
        };
        let resumed = next.position.offset - 1;
        if tape.windowed && resumed > subscription.sent {
            return self.tell_loss(key, slot, resumed, GapReason::Conflated, now_ms);
        }
        match self.lay_sparse(key, slot, &page.publications) {
            Some(sparse) => self.write_sparse(key, slot, &sparse, now_ms),
            None => self.tell_loss(key, slot, resumed, GapReason::Conflated, now_ms),
        }
    }

    /// Lays publications with a gap before each that does not follow on the one before; `None` where the first gap cannot be said.
    fn lay_sparse(&mut self, key: SubscriberKey, slot: Slot, publications: &[Arc<Publication>]) -> Option<Sparse> {
        let subscriber = &mut self.subscribers[key as usize];
        let subscription = subscriber.subscriptions[slot as usize];
        let tape = &self.tapes[subscription.tape as usize];
        let name = &self.channels[tape.channel as usize].name;
        let mut composite = subscriber.composite.as_deref_mut();
        let mut reached = subscription.sent;
        let mut sparse = Sparse::default();
        let mut advance = |position| {
            let composite = composite.as_deref_mut()?;
            composite.advance(slot as usize, position);
            Some(composite.as_str().to_owned())
        };
        for publication in publications {
            let position = publication.position;
            let passed_over = position.offset - 1 - reached;
            if passed_over > 0 {
                let asked = Cursor::from(Position::new(position.epoch, reached));
                let gap = Gap { asked, resumed: Position::new(position.epoch, position.offset - 1), reason: GapReason::Conflated };
                let cursor = advance(gap.resumed);
                if !self.encoder.gap(tape.encoding, name, &gap, cursor.as_deref(), &mut sparse.bytes) {
                    break;
                }
            }
            let cursor = advance(position);
            self.encoder.publication(tape.encoding, name, publication, cursor.as_deref(), &mut sparse.bytes);
            sparse.frames.push(SparseFrame { end: sparse.bytes.len(), passed_over, offset: position.offset });
            reached = position.offset;
        }
        (!sparse.frames.is_empty()).then_some(sparse)
    }

    fn write_sparse(&mut self, key: SubscriberKey, slot: Slot, sparse: &Sparse, now_ms: u64) -> Step {
        let bytes = sparse.bytes.clone().freeze();
        let subscriber = &mut self.subscribers[key as usize];
        let written = match subscriber.sink.try_write(&bytes) {
            Written::All => bytes.len(),
            Written::Part(written) => written,
            Written::Gone => {
                self.events.push(HubEvent::Gone(key));
                return Step::Stop;
            }
        };
        let begun = sparse.begun(written);
        let end = begun.last().map_or(0, |frame| frame.end);
        let subscription = &mut subscriber.subscriptions[slot as usize];
        subscription.sent = begun.last().map_or(subscription.sent, |frame| frame.offset);
        let tape = &self.tapes[subscription.tape as usize];
        self.tallies[tape.encoding.index()].add(Tally {
            deliveries: begun.len() as u64,
            bytes: end as u64,
            conflated: begun.iter().map(|frame| frame.passed_over).sum(),
            ..Tally::default()
        });
        let (channel, windowed) = (tape.channel, tape.windowed);
        if let (true, Some(first)) = (windowed, begun.first()) {
            self.note_sent(key, slot, first.offset);
        }
        self.gaps.extend(begun.iter().filter(|frame| frame.passed_over > 0).map(|_| GapReason::Conflated));
        self.stir(channel);
        if written == bytes.len() {
            return Step::More;
        }
        let outbox = outbox_of(&mut self.subscribers[key as usize], now_ms);
        outbox.progress_ms = if written > 0 { now_ms } else { outbox.progress_ms };
        outbox.cut(bytes.slice(written..end.max(written)));
        self.rewind_composite(key, slot);
        self.block(key);
        Step::Stop
    }

    /// Says that what lies between a subscription and this offset does not come.
    pub(super) fn tell_loss(&mut self, key: SubscriberKey, slot: Slot, resumed: Offset, reason: GapReason, now_ms: u64) -> Step {
        let subscriber = &mut self.subscribers[key as usize];
        let subscription = &mut subscriber.subscriptions[slot as usize];
        let tape = &self.tapes[subscription.tape as usize];
        let (channel, encoding) = (tape.channel, tape.encoding);
        let of = &self.channels[channel as usize];
        let at = |offset| Position::new(of.head.epoch, offset);
        let gap = Gap { asked: Cursor::from(at(subscription.sent)), resumed: at(resumed), reason };
        self.gaps.push(reason);
        if let Some(composite) = &mut subscriber.composite {
            composite.advance(slot as usize, gap.resumed);
        }
        let composite = subscriber.composite.as_deref().map(Composite::as_str);
        let mut record = BytesMut::new();
        if !self.encoder.gap(encoding, &of.name, &gap, composite, &mut record) {
            // The cursor stays before the gap, so that nothing is sent past it, whatever comes before the close.
            let why = crate::disconnect::Disconnect::Gap { channel: of.name.clone(), gap };
            self.events.push(HubEvent::Close(key, why));
            return Step::Stop;
        }
        if tape.windowed {
            subscriber.sink.gap_sent(slot, gap.resumed);
        }
        let lost = resumed - std::mem::replace(&mut subscription.sent, resumed);
        self.tallies[encoding.index()].add(match reason {
            GapReason::Conflated => Tally { conflated: lost, ..Tally::default() },
            _ => Tally { dropped: lost, ..Tally::default() },
        });
        // A gap record is small and replaces what would have been far more: it is not held to the outbox's bound.
        let pushed = outbox_of(subscriber, now_ms).push(record.freeze(), usize::MAX);
        self.stir(channel);
        if pushed.is_err() { Step::Stop } else { Step::More }
    }
}

impl Sparse {
    /// The frames of which at least a byte is among the first so many.
    fn begun(&self, written: usize) -> &[SparseFrame] {
        let whole = self.frames.partition_point(|frame| frame.end <= written);
        let whole_end = if whole == 0 { 0 } else { self.frames[whole - 1].end };
        &self.frames[..whole + usize::from(written > whole_end)]
    }
}
