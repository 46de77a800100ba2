//! What a client follows, as time goes by: heads are told when a channel falls silent, and leases that were not renewed end.

use bongsu_core::disconnect::Disconnect;
use bongsu_core::encoding::{Encoding, Framing};
use bongsu_core::format::Format;
use bongsu_core::hub::{Slot, SubscriberKey};
use bongsu_core::udp::{self, HeadTimes, Lease, Look};
use bongsu_core::{ChannelName, Position};
use bytes::{Bytes, BytesMut};

use crate::connection::{Connection, Phase};
use crate::link::Link;
use crate::metrics::CloseReason;
use crate::worker::Worker;

/// What one connection over UDP follows.
#[derive(Default)]
pub(crate) struct Leased {
    pub(super) channels: Vec<LeasedChannel>,
}

/// A channel that is followed while its lease lasts.
pub(super) struct LeasedChannel {
    pub(super) name: ChannelName,
    pub(super) slot: Slot,
    pub(super) lease: Lease,
}

impl Worker {
    /// Something was sent to these since their heads were told: they are to be told again once it is silent.
    pub(crate) fn on_stirred(&mut self) {
        let Some(udp) = &self.udp else { return };
        let stirred = std::mem::take(&mut *udp.stirred.borrow_mut());
        let (times, now_ms) = (self.head_times(), self.now_ms());
        for (key, generation) in stirred {
            if self.hub.sink(key).is_some_and(|connection| connection.generation == generation) {
                self.with_leases(key, |channel, sent| channel.lease.stir(sent.offset, times, now_ms));
                self.arm_leases(key);
            }
        }
    }

    /// Tells heads and ends leases, where it is time.
    pub(crate) fn on_lease_due(&mut self, key: SubscriberKey, now_ms: u64) {
        let times = self.head_times();
        let Some(Connection { link: Link::Datagrams(peer), .. }) = self.hub.sink(key) else { return };
        peer.is_stirred.set(false);
        let (address, mut lines, mut ended) = (peer.client.address, BytesMut::new(), Vec::new());
        self.with_leases(key, |channel, sent| match channel.lease.look(sent.offset, times, now_ms) {
            Look::Nothing => (),
            Look::Head => udp::write_head(&channel.name, sent, &mut lines),
            Look::Ended => {
                udp::write_lease_ended(&channel.name, sent, &mut lines);
                ended.push(channel.slot);
            }
        });
        self.say_to(address, &mut lines);
        for slot in ended {
            self.end_lease(key, slot, CloseReason::Silent);
        }
        self.arm_leases(key);
    }

    /// Ends one channel of a connection, and the connection with the last of them.
    pub(super) fn end_lease(&mut self, key: SubscriberKey, slot: Slot, reason: CloseReason) {
        self.hub.unsubscribe(key, slot);
        let Some(Connection { phase: Phase::Datagrams(leased), .. }) = self.hub.sink(key) else { return };
        leased.channels.retain(|channel| channel.slot != slot);
        if leased.channels.is_empty() {
            self.close(key, reason);
        }
    }

    /// Has `on_lease_due` called when the first of a connection's channels is due.
    pub(super) fn arm_leases(&mut self, key: SubscriberKey) {
        let Some(Connection { phase: Phase::Datagrams(leased), .. }) = self.hub.sink(key) else { return };
        if let Some(due_ms) = leased.channels.iter().map(|channel| channel.lease.due_ms()).min() {
            self.arm(key, due_ms);
        }
    }

    /// Calls with each channel of a connection and what was sent of it.
    fn with_leases(&mut self, key: SubscriberKey, mut act: impl FnMut(&mut LeasedChannel, Position)) {
        let Some(Connection { phase: Phase::Datagrams(leased), .. }) = self.hub.sink(key) else { return };
        let mut channels = std::mem::take(&mut leased.channels);
        for channel in &mut channels {
            if let Some(sent) = self.hub.sent(key, channel.slot) {
                act(channel, sent);
            }
        }
        if let Some(Connection { phase: Phase::Datagrams(leased), .. }) = self.hub.sink(key) {
            leased.channels = channels;
        }
    }

    /// The last line that a client gets.
    pub(crate) fn datagrams_farewell(&mut self, why: &Disconnect) -> Bytes {
        let reconnect_ms = self.reconnect_ms();
        let mut last = BytesMut::new();
        self.hub.encoder().goodbye(ENCODING, &why.goodbye(), reconnect_ms, &mut last);
        last.freeze()
    }

    pub(super) fn head_times(&self) -> HeadTimes {
        let config = &self.shared.config.udp;
        HeadTimes { after_ms: config.head_after.as_millis(), interval_max_ms: config.head_interval_max.as_millis() }
    }
}

/// How a channel's records are written here.
pub(super) const ENCODING: Encoding = Encoding::new(Format::Json, Framing::Datagram);
