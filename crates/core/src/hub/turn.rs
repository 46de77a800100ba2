//! A turn: what was announced since the last one is laid, sealed, and written to all who are up to date.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::outbox::Outbox;
use super::segment::{Segment, SegmentBuilder};
use super::subscriber::{BEHIND, Subscriber};
use super::tape::{Member, Tape};
use super::{Hub, HubEvent, Sink, Slot, SubscriberKey, Tally, Written};
use crate::composite::Composite;
use crate::encoding::{Encoder, Encoding};
use crate::name::ChannelName;
use crate::position::{Offset, Position};
use crate::publication::Publication;

/// A publication on its way from the engine to a worker. Announcements of a channel come in its order, without holes.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// The channel.
    pub channel: ChannelName,
    /// The publication, with its position.
    pub publication: Arc<Publication>,
}

impl<S: Sink> Hub<S> {
    /// Delivers announcements. What they cause beyond writing is told by `take_events`.
    pub fn turn(&mut self, announcements: impl IntoIterator<Item = Announcement>, now_ms: u64) {
        announcements.into_iter().for_each(|announcement| self.lay(announcement));
        let mut tapes = std::mem::take(&mut self.dirty_tapes);
        tapes.iter().for_each(|&tape| self.deliver(tape, now_ms));
        self.deliver_gathered(now_ms);
        tapes.iter().for_each(|&tape| self.settle(tape));
        let mut channels = std::mem::take(&mut self.dirty_channels);
        channels.drain(..).for_each(|channel| self.finish_channel(channel));
        // The lists go back, so that a turn allocates none.
        tapes.clear();
        self.dirty_tapes = tapes;
        self.dirty_channels = channels;
    }

    fn lay(&mut self, Announcement { channel, publication }: Announcement) {
        let Some(&key) = self.by_name.get(&channel) else { return };
        let of = &mut self.channels[key as usize];
        // A watched channel keeps its epoch, and a watch begins at a head: whatever does not lie past it is from an earlier watch.
        if publication.position.epoch != of.head.epoch || publication.position.offset <= of.head.offset {
            return;
        }
        debug_assert_eq!(publication.position.offset, of.head.offset + 1, "announcements come without holes");
        of.head = publication.position;
        of.payload_bytes = publication.bytes_before + publication.draft.data.len() as u64;
        let mut keep = !of.waiters.is_empty();
        let first = of.arrived.is_empty();
        for &tape_key in &of.tapes {
            let tape = &mut self.tapes[tape_key as usize];
            let encoding = tape.encoding;
            if tape.laying.is_empty() {
                self.dirty_tapes.push(tape_key);
            }
            keep |= encoding.own;
            tape.laying.lay(publication.position.offset, |out| {
                if !encoding.own {
                    self.encoder.publication(encoding, &of.name, &publication, None, out);
                }
            });
        }
        if keep {
            if first {
                self.dirty_channels.push(key);
            }
            of.arrived.push(publication);
        }
    }

    /// Seals a tape's turn and writes it. Who has several channels is gathered, to get all of theirs in one write.
    fn deliver(&mut self, tape_key: u32, now_ms: u64) {
        let tape = &mut self.tapes[tape_key as usize];
        let held = tape.bytes();
        let segment = tape.seal(now_ms);
        self.tapes_bytes += tape.bytes() - held;
        let Tape { encoding, channel, windowed, .. } = *tape;
        let mut live = std::mem::take(&mut tape.live);
        let mut kept = 0;
        let mut taken = Tally::default();
        for place in 0..live.len() {
            let member = live[place];
            let still_live = if encoding.own {
                self.deliver_own(member, channel, encoding, segment.first(), now_ms, &mut taken)
            } else if windowed {
                self.write_within_window(member, &segment, now_ms, &mut taken)
            } else if self.subscribers[member.subscriber as usize].subscriptions.len() > 1 {
                self.gathered.push((member.subscriber, member.slot));
                true
            } else {
                self.write_live(member, &segment, now_ms, &mut taken)
            };
            if !still_live {
                continue;
            }
            if kept != place {
                live[kept] = member;
                self.subscribers[member.subscriber as usize].subscriptions[member.slot as usize].place = kept as u32;
            }
            kept += 1;
        }
        live.truncate(kept);
        self.tapes[tape_key as usize].live = live;
        self.tallies[encoding.index()].add(taken);
    }

    /// Writes a turn's frames to one who was up to date. Tells whether it still is.
    pub(super) fn write_live(&mut self, member: Member, segment: &Segment, now_ms: u64, taken: &mut Tally) -> bool {
        let subscriber = &mut self.subscribers[member.subscriber as usize];
        if !subscriber.is_clear() {
            fall_behind(subscriber, member.slot, segment.first() - 1);
            return false;
        }
        let frames = segment.frames() as u64;
        match subscriber.sink.try_write(segment.bytes()) {
            Written::All => {
                taken.deliveries += frames;
                taken.bytes += segment.bytes().len() as u64;
                true
            }
            Written::Part(written) => {
                let cut = segment.cut(written);
                taken.deliveries += cut.through + 1 - segment.first();
                taken.bytes += (written + cut.rest.len()) as u64;
                fall_behind(subscriber, member.slot, cut.through);
                let mut outbox = Outbox::new(now_ms);
                outbox.cut(cut.rest);
                subscriber.outbox = Some(Box::new(outbox));
                self.block(member.subscriber);
                false
            }
            Written::Gone => {
                fall_behind(subscriber, member.slot, segment.first() - 1);
                self.events.push(HubEvent::Gone(member.subscriber));
                false
            }
        }
    }

    /// Lays and writes the turn's frames for a connection whose records have something of their own. Tells whether it is still live.
    fn deliver_own(&mut self, member: Member, channel: u32, encoding: Encoding, first: Offset, now_ms: u64, taken: &mut Tally) -> bool {
        let subscriber = &mut self.subscribers[member.subscriber as usize];
        if !subscriber.is_clear() {
            fall_behind(subscriber, member.slot, first - 1);
            return false;
        }
        let of = &self.channels[channel as usize];
        let composite = subscriber.composite.as_deref_mut().map(|composite| (composite, member.slot));
        let own = lay_own(&self.encoder, encoding, &of.name, composite, &of.arrived, now_ms);
        let still_live = self.write_live(member, &own, now_ms, taken);
        if !still_live {
            self.rewind_composite(member.subscriber, member.slot);
        }
        still_live
    }

    /// Sets the channel's part of a composite cursor to what was sent: laying moved it past frames that the sink then did not take, and
    /// the next record may be of another channel.
    pub(super) fn rewind_composite(&mut self, key: SubscriberKey, slot: Slot) {
        let subscriber = &mut self.subscribers[key as usize];
        let Some(composite) = subscriber.composite.as_deref_mut() else { return };
        let subscription = &subscriber.subscriptions[slot as usize];
        let epoch = self.channels[self.tapes[subscription.tape as usize].channel as usize].head.epoch;
        composite.advance(slot as usize, Position::new(epoch, subscription.sent));
    }

    fn deliver_gathered(&mut self, now_ms: u64) {
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.sort_unstable();
        for group in gathered.chunk_by(|one, other| one.0 == other.0) {
            self.write_gathered(group[0].0, group, now_ms);
        }
        gathered.clear();
        self.gathered = gathered;
    }

    /// Writes the newest segment of several tapes at once.
    fn write_gathered(&mut self, key: SubscriberKey, group: &[(SubscriberKey, Slot)], now_ms: u64) {
        let subscriber = &mut self.subscribers[key as usize];
        let tape_of = |slot: Slot| subscriber.subscriptions[slot as usize].tape as usize;
        let segments: SmallVec<[Segment; 8]> = group.iter().filter_map(|&(_, slot)| self.tapes[tape_of(slot)].newest().cloned()).collect();
        let slices: SmallVec<[Bytes; 8]> = segments.iter().map(|segment| segment.bytes().clone()).collect();
        let written = if subscriber.is_clear() { subscriber.sink.try_write_vectored(&slices) } else { Written::Part(0) };
        let mut left = match written {
            Written::All => usize::MAX,
            Written::Part(written) => written,
            Written::Gone => {
                self.events.push(HubEvent::Gone(key));
                0
            }
        };
        for (&(_, slot), segment) in group.iter().zip(&segments) {
            let subscriber = &mut self.subscribers[key as usize];
            let encoding = self.tapes[subscriber.subscriptions[slot as usize].tape as usize].encoding;
            let bytes = segment.bytes().len();
            let cut = if left >= bytes { None } else { Some(segment.cut(left)) };
            let through = cut.as_ref().map_or(segment.last(), |cut| cut.through);
            let rest = cut.as_ref().map_or(0, |cut| cut.rest.len());
            self.tallies[encoding.index()].add(Tally { deliveries: through + 1 - segment.first(), bytes: (left.min(bytes) + rest) as u64 });
            left -= left.min(bytes);
            if let Some(cut) = cut {
                self.make_behind(key, slot);
                let subscriber = &mut self.subscribers[key as usize];
                subscriber.subscriptions[slot as usize].sent = cut.through;
                if !cut.rest.is_empty() {
                    outbox_of(subscriber, now_ms).cut(cut.rest);
                }
            }
        }
        // Even when the cut fell between frames there is more to send.
        if matches!(written, Written::Part(_)) {
            self.block(key);
        }
    }

    /// Gives up frames that nobody needs any more. Who catches up last or leaves has it done too, so that a silent channel holds none.
    pub(super) fn settle(&mut self, tape_key: u32) {
        let Some(tape) = self.tapes.get_mut(tape_key as usize) else { return };
        let held = tape.bytes();
        let over = self.tapes_bytes > self.limits.tapes_bytes_max;
        tape.settle(if over { 0 } else { self.limits.tape_bytes_max });
        self.tapes_bytes -= held - tape.bytes();
    }

    fn finish_channel(&mut self, key: u32) {
        let Some(channel) = self.channels.get_mut(key as usize) else { return };
        let publications = std::mem::take(&mut channel.arrived);
        let waiters = std::mem::take(&mut channel.waiters);
        if let (Some(first), false) = (publications.first(), waiters.is_empty()) {
            let from = Position::new(first.position.epoch, first.position.offset - 1);
            self.events.push(HubEvent::Arrived { channel: channel.name.clone(), from, publications, waiters });
        }
    }
}

/// Lays publications for one connection, moving its composite cursor along.
pub(super) fn lay_own(
    encoder: &Encoder,
    encoding: Encoding,
    channel: &ChannelName,
    mut composite: Option<(&mut Composite, Slot)>,
    publications: &[Arc<Publication>],
    now_ms: u64,
) -> Segment {
    let mut builder = SegmentBuilder::default();
    for publication in publications {
        let text = composite.as_mut().map(|(composite, slot)| {
            composite.advance(*slot as usize, publication.position);
            composite.as_str()
        });
        builder.lay(publication.position.offset, |out| encoder.publication(encoding, channel, publication, text, out));
    }
    builder.seal(now_ms)
}

fn fall_behind<S>(subscriber: &mut Subscriber<S>, slot: Slot, sent: u64) {
    let subscription = &mut subscriber.subscriptions[slot as usize];
    subscription.place = BEHIND;
    subscription.sent = sent;
}

pub(super) fn outbox_of<S>(subscriber: &mut Subscriber<S>, now_ms: u64) -> &mut Outbox {
    subscriber.outbox.get_or_insert_with(|| Box::new(Outbox::new(now_ms)))
}
