//! Coming and going: connections, their subscriptions, and those who only wait.

use bytes::Bytes;

use super::outbox::OutboxFull;
use super::subscriber::{BEHIND, FREE, Subscriber, Subscription};
use super::tape::{Member, Tape};
use super::turn::outbox_of;
use super::{ChannelKey, Hub, HubEvent, Sink, Slot, SubscriberKey, Written};
use crate::composite::Composite;
use crate::encoding::Encoding;
use crate::position::{Offset, Position};

impl<S: Sink> Hub<S> {
    /// Takes up a connection.
    pub fn add(&mut self, sink: S) -> SubscriberKey {
        self.subscribers.insert(Subscriber::new(sink)) as SubscriberKey
    }

    /// Lets a connection go, with all its subscriptions, and gives its sink back.
    pub fn remove(&mut self, key: SubscriberKey) -> Option<S> {
        self.unsubscribe_all(key);
        self.blocked.remove(&key);
        self.subscribers.try_remove(key as usize).map(|subscriber| subscriber.sink)
    }

    /// The connection's sink.
    pub fn sink(&mut self, key: SubscriberKey) -> Option<&mut S> {
        self.subscribers.get_mut(key as usize).map(|subscriber| &mut subscriber.sink)
    }

    /// Has the connection tell one cursor for all its channels in every record.
    pub fn set_composite(&mut self, key: SubscriberKey, composite: Composite) {
        if let Some(subscriber) = self.subscribers.get_mut(key as usize) {
            subscriber.composite = Some(Box::new(composite));
        }
    }

    /// Subscribes a connection to a channel right after `sent`. Call `pump` next, which catches up what is behind.
    pub fn subscribe(&mut self, key: SubscriberKey, channel: ChannelKey, encoding: Encoding, sent: Offset) -> Slot {
        let tape = self.tape(channel, encoding);
        let base_bytes = self.channels[channel as usize].payload_bytes;
        let subscriber = self.subscribers.get_mut(key as usize).expect("only a connection that was added subscribes");
        let slot = subscriber.slot(Subscription::new(tape, sent, base_bytes));
        let tape = &mut self.tapes[tape as usize];
        tape.readers += 1;
        // What lies between its start and the tape's end is offered to it at once.
        self.tallies[encoding.index()].offered += tape.through.saturating_sub(sent);
        slot
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, key: SubscriberKey, slot: Slot) {
        self.make_behind(key, slot);
        let Some(subscriber) = self.subscribers.get_mut(key as usize) else { return };
        let Some(subscription) = subscriber.subscriptions.get_mut(slot as usize).filter(|slot| slot.tape != FREE) else { return };
        let (tape, sent) = (std::mem::replace(&mut subscription.tape, FREE), subscription.sent);
        let left = &mut self.tapes[tape as usize];
        left.readers -= 1;
        self.tallies[left.encoding.index()].abandoned += left.through.saturating_sub(sent);
        let channel = left.channel;
        self.stir(channel);
        if self.tapes[tape as usize].readers == 0 {
            if let Ok(place) = self.place_of_tape(channel, self.tapes[tape as usize].encoding) {
                self.channels[channel as usize].tapes.remove(place);
            }
            let gone = self.tapes.remove(tape as usize);
            self.encoder.release(gone.encoding);
            self.tapes_bytes -= gone.bytes();
        }
        self.settle(tape);
    }

    /// Ends all subscriptions of a connection.
    pub fn unsubscribe_all(&mut self, key: SubscriberKey) {
        let count = self.subscribers.get(key as usize).map_or(0, |subscriber| subscriber.subscriptions.len());
        (0..count as Slot).for_each(|slot| self.unsubscribe(key, slot));
    }

    /// The last publication that was sent on a subscription.
    pub fn sent(&self, key: SubscriberKey, slot: Slot) -> Option<Position> {
        let subscription = self.subscribers.get(key as usize)?.subscriptions.get(slot as usize).filter(|slot| slot.tape != FREE)?;
        let tape = &self.tapes[subscription.tape as usize];
        let epoch = self.channels[tape.channel as usize].head.epoch;
        Some(Position::new(epoch, if subscription.is_live() { tape.through } else { subscription.sent }))
    }

    /// Has the connection told, once, of the next publications of a channel. It must be up to date with the channel's head.
    pub fn wait(&mut self, key: SubscriberKey, channel: ChannelKey) {
        self.channels[channel as usize].waiters.push(key);
    }

    /// Ends a wait.
    pub fn stop_waiting(&mut self, key: SubscriberKey, channel: ChannelKey) {
        let Some(channel) = self.channels.get_mut(channel as usize) else { return };
        if let Some(place) = channel.waiters.iter().position(|&waiter| waiter == key) {
            channel.waiters.swap_remove(place);
        }
    }

    /// Sends a connection a frame of its own, between those of its channels: at once if nothing waits, else in its turn.
    pub fn send(&mut self, key: SubscriberKey, frame: Bytes, now_ms: u64) -> Result<(), OutboxFull> {
        let bytes_max = self.limits.outbox_bytes_max;
        let Some(subscriber) = self.subscribers.get_mut(key as usize) else { return Ok(()) };
        if !subscriber.is_clear() {
            return outbox_of(subscriber, now_ms).push(frame, bytes_max);
        }
        match subscriber.sink.try_write(&frame) {
            Written::All => (),
            Written::Part(written) => {
                outbox_of(subscriber, now_ms).cut(frame.slice(written..));
                self.block(key);
            }
            Written::Gone => self.events.push(HubEvent::Gone(key)),
        }
        Ok(())
    }

    /// How many bytes of its own wait for a connection.
    pub fn waiting_bytes(&self, key: SubscriberKey) -> usize {
        self.subscribers.get(key as usize).and_then(|subscriber| subscriber.outbox.as_ref()).map_or(0, |outbox| outbox.bytes())
    }

    /// Gives up what was not begun to be sent and ends all subscriptions, so that a goodbye can go next.
    pub fn quiet(&mut self, key: SubscriberKey) {
        self.unsubscribe_all(key);
        if let Some(outbox) = self.subscribers.get_mut(key as usize).and_then(|subscriber| subscriber.outbox.as_mut()) {
            outbox.discard_frames();
        }
    }

    /// Whether all that was for the connection has gone out.
    pub fn is_drained(&self, key: SubscriberKey) -> bool {
        self.subscribers.get(key as usize).is_none_or(Subscriber::is_clear)
    }

    pub(super) fn block(&mut self, key: SubscriberKey) {
        let Some(subscriber) = self.subscribers.get_mut(key as usize) else { return };
        if !std::mem::replace(&mut subscriber.blocked, true) {
            self.blocked.insert(key);
            self.events.push(HubEvent::Blocked(key));
        }
    }

    /// Takes a subscription off its tape's live members.
    pub(super) fn make_behind(&mut self, key: SubscriberKey, slot: Slot) {
        let Some(subscription) = self.subscribers.get_mut(key as usize).and_then(|s| s.subscriptions.get_mut(slot as usize)) else {
            return;
        };
        if subscription.tape == FREE || !subscription.is_live() {
            return;
        }
        let place = std::mem::replace(&mut subscription.place, BEHIND);
        let tape = &mut self.tapes[subscription.tape as usize];
        subscription.sent = tape.through;
        tape.live.swap_remove(place as usize);
        if let Some(&Member { subscriber, slot }) = tape.live.get(place as usize) {
            self.subscribers[subscriber as usize].subscriptions[slot as usize].place = place;
        }
    }

    fn tape(&mut self, channel: ChannelKey, encoding: Encoding) -> u32 {
        let place = match self.place_of_tape(channel, encoding) {
            Ok(place) => return self.channels[channel as usize].tapes[place],
            Err(place) => place,
        };
        let of = &mut self.channels[channel as usize];
        let windowed = self.encoder.forms().is_windowed(encoding.format);
        let tape = self.tapes.insert(Tape::new(channel, encoding, windowed, of.head.offset)) as u32;
        self.encoder.hold(encoding);
        of.tapes.insert(place, tape);
        tape
    }

    /// Where a channel has its tape of an encoding, or would have it. STOMP can give a channel as many as it has subscribers.
    fn place_of_tape(&self, channel: ChannelKey, encoding: Encoding) -> Result<usize, usize> {
        self.channels[channel as usize].tapes.binary_search_by_key(&encoding, |&tape| self.tapes[tape as usize].encoding)
    }
}
