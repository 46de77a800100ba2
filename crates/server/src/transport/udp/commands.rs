//! What a client whose address is validated asks for.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bongsu_core::directory::PublishFault;
use bongsu_core::hub::{Slot, SubscriberKey};
use bongsu_core::idempotency::IdempotencyKey;
use bongsu_core::limits::PageLimits;
use bongsu_core::native::{self, Command, Id};
use bongsu_core::udp::{self, Cookie, Lease, Request};
use bongsu_core::{ChannelName, Cursor, Draft, Start};
use bytes::{Bytes, BytesMut};

use super::leases::{ENCODING, LeasedChannel};
use super::{Client, Leased, Peer};
use crate::admission::Visitor;
use crate::connection::{Connection, Phase};
use crate::link::Link;
use crate::metrics::{CloseReason, TransportKind};
use crate::pacing::TooFast;
use crate::transport::publish::publish_problem;
use crate::worker::{Door, Worker};

/// A subscribe, as it was asked for.
struct Asked<'a> {
    channel: &'a ChannelName,
    start: &'a Start,
    complete: bool,
    id: Option<&'a Id>,
}

impl Worker {
    /// Acts on the commands of a datagram, in order. Their answers share datagrams.
    pub(super) fn on_commands(&mut self, cookie: &Cookie, age_ms: u64, rest: &[u8], from: SocketAddr) {
        let shared = Arc::clone(&self.shared);
        let mut replies = BytesMut::new();
        for request in udp::commands(rest, &shared.native_limits) {
            match request {
                Ok(Request::Command { command, complete }) => self.on_command(cookie, command, complete, from, &mut replies),
                Ok(Request::Repair { channel, after, through, id }) => {
                    self.repair(&channel, after, through.as_ref(), id.as_ref(), from, &mut replies);
                }
                Err(fault) => {
                    self.metrics.fault(fault.code());
                    self.refuse_command(fault.id.as_ref(), fault.code(), &fault.to_string(), &mut replies);
                }
            }
        }
        // A cookie is renewed by the way, so that who goes on needs no second hello.
        if age_ms > shared.config.udp.cookie_lifetime.as_millis() / 2
            && let Some(newer) = self.new_cookie(from)
        {
            udp::write_cookie(newer, &mut replies);
        }
        self.say_to(from, &mut replies);
    }

    fn on_command(&mut self, cookie: &Cookie, command: Command, complete: bool, from: SocketAddr, replies: &mut BytesMut) {
        match command {
            Command::Publish { channel, draft, idempotency_key, id } => {
                let (admission, limits, now_ms) = (&self.shared.admission, &self.shared.admission_limits, self.now_ms());
                if let Err(wait_ms) = admission.publish_from(from.ip(), draft.data.len(), limits, now_ms) {
                    self.metrics.fault(TooFast::CODE);
                    native::write_too_fast(id.as_ref(), TooFast::CODE, wait_ms, replies);
                    return replies.extend_from_slice(b"\n");
                }
                let key = idempotency_key.map(|key| IdempotencyKey::anonymous(&key));
                // The network may double a datagram: who gave its publish an id has it published once.
                let own = || id.as_ref().map(|id| IdempotencyKey { publisher: cookie.to_text().into(), key: id.as_json().into() });
                let draft = Draft { data: Bytes::copy_from_slice(&draft.data), ..draft };
                match self.publish(TransportKind::Udp, &channel, draft, key.or_else(own)) {
                    Ok(position) => {
                        native::write_published(id.as_ref(), position, replies);
                        replies.extend_from_slice(b"\n");
                    }
                    Err(fault) => self.refuse_command(id.as_ref(), publish_problem(fault).code, &fault.to_string(), replies),
                }
            }
            Command::Subscribe { channel, start, id } => {
                self.subscribe_leased(&Asked { channel: &channel, start: &start, complete, id: id.as_ref() }, from, replies);
            }
            Command::Unsubscribe { channel, id } => match self.leased(from, &channel) {
                Some((key, slot)) => {
                    self.end_lease(key, slot, CloseReason::Client);
                    native::write_done(id.as_ref(), replies);
                    replies.extend_from_slice(b"\n");
                }
                None => self.refuse_not_subscribed(&channel, id.as_ref(), replies),
            },
            Command::Heartbeat { .. } => {
                self.metrics.fault("unknown-field");
                let message = "over UDP the server asks nobody whether it is there: a lease that is renewed shows it; leave every_ms out";
                self.refuse_command(None, "unknown-field", message, replies);
            }
            Command::Pong => (),
            Command::Ping(value) => {
                native::write_pong(&value, replies);
                replies.extend_from_slice(b"\n");
            }
        }
    }

    /// Begins a subscription, or renews it: to say the same again is how a client makes sure that it was heard.
    fn subscribe_leased(&mut self, asked: &Asked<'_>, from: SocketAddr, replies: &mut BytesMut) {
        let now_ms = self.now_ms();
        match self.leased(from, asked.channel) {
            Some((key, slot)) if self.is_complete(key) == asked.complete => return self.renew(key, slot, asked, replies),
            // The same channel in the other way: it begins anew.
            Some((key, slot)) => self.end_lease(key, slot, CloseReason::Client),
            None => (),
        }
        if asked.channel.is_reserved() {
            self.metrics.fault("reserved-channel");
            let problem = publish_problem(PublishFault::Reserved);
            return self.refuse_command(asked.id, problem.code, &problem.detail, replies);
        }
        let key = match self.leased_connection(from, asked.complete) {
            Ok(key) => key,
            Err((code, message)) => {
                self.metrics.fault(code);
                return self.refuse_command(asked.id, code, &message, replies);
            }
        };
        let (channel_key, located) = self.join(asked.channel, asked.start);
        let lease_ms = self.shared.config.udp.lease.as_millis();
        udp::write_subscribed(asked.id, asked.channel, &located.told(), located.cursor, lease_ms, replies);
        if let Some(gap) = &located.gap {
            self.metrics.gap(gap.reason);
            self.hub.encoder().gap(ENCODING, asked.channel, gap, None, replies);
        }
        // The answer goes before what it announces.
        self.say_to(from, replies);
        let slot = self.hub.subscribe(key, channel_key, ENCODING, located.cursor.offset);
        let lease = Lease::new(located.cursor.offset, lease_ms, self.head_times(), now_ms);
        if let Some(Connection { phase: Phase::Datagrams(leased), .. }) = self.hub.sink(key) {
            leased.channels.push(LeasedChannel { name: asked.channel.clone(), slot, lease });
        }
        self.arm_leases(key);
        self.pump(key);
    }

    /// Says again what a subscribe was answered, with the head as it is now. What was lost in between the client sees by it.
    fn renew(&mut self, key: SubscriberKey, slot: Slot, asked: &Asked<'_>, replies: &mut BytesMut) {
        let (now_ms, lease_ms) = (self.now_ms(), self.shared.config.udp.lease.as_millis());
        let located = self.engine().locate(asked.channel, asked.start);
        let head = self.hub.sent(key, slot).unwrap_or(located.cursor);
        udp::write_subscribed(asked.id, asked.channel, &located.told(), head, lease_ms, replies);
        if let Some(gap) = &located.gap {
            self.metrics.gap(gap.reason);
            self.hub.encoder().gap(ENCODING, asked.channel, gap, None, replies);
        }
        if let Some(Connection { phase: Phase::Datagrams(leased), .. }) = self.hub.sink(key) {
            let renewed = leased.channels.iter_mut().find(|channel| channel.slot == slot);
            renewed.into_iter().for_each(|channel| channel.lease.renew(lease_ms, now_ms));
        }
        self.arm_leases(key);
    }

    /// Sends again what lies in a hole, as much of it as may be in flight at once.
    fn repair(
        &mut self,
        channel: &ChannelName,
        after: Cursor,
        through: Option<&Cursor>,
        id: Option<&Id>,
        from: SocketAddr,
        replies: &mut BytesMut,
    ) {
        let now_ms = self.now_ms();
        let Some((key, slot)) = self.leased(from, channel) else { return self.refuse_not_subscribed(channel, id, replies) };
        let Some(client) = self.udp.as_ref().and_then(|udp| udp.clients.get(&from)).map(Rc::clone) else { return };
        if !client.repairs.borrow_mut().take(1, now_ms) {
            self.metrics.fault("too-many-repairs");
            let max = self.shared.config.udp.repairs_per_second_max;
            let message = format!("at most {max} repairs a second; ask for a longer stretch, and more rarely");
            return self.refuse_command(id, "too-many-repairs", &message, replies);
        }
        self.say_to(from, replies);
        let room = client.pace.borrow_mut().available(now_ms) as usize;
        let limits = PageLimits { publications_max: REPAIRED_MAX, bytes_max: room };
        let (located, page) = self.engine().read(channel, &Start::After(after), limits);
        if let Some(gap) = &located.gap {
            self.metrics.gap(gap.reason);
            self.hub.encoder().gap(ENCODING, channel, gap, None, replies);
        }
        // What lies past what was sent comes by itself.
        let sent = self.hub.sent(key, slot).map_or(0, |sent| sent.offset);
        let through = through.and_then(Cursor::position).filter(|through| through.epoch == located.cursor.epoch);
        let through = through.map_or(sent, |through| through.offset.min(sent));
        let mut repaired = located.cursor;
        for publication in page.publications.iter().take_while(|publication| publication.position.offset <= through) {
            let before = replies.len();
            self.hub.encoder().publication(ENCODING, channel, publication, None, replies);
            if replies.len() > room {
                replies.truncate(before);
                break;
            }
            repaired = publication.position;
        }
        udp::write_repaired(id, channel, repaired, replies);
        self.say_to(from, replies);
    }

    /// The connection of a client that follows a channel.
    fn leased(&mut self, of: SocketAddr, channel: &ChannelName) -> Option<(SubscriberKey, Slot)> {
        let client = Rc::clone(self.udp.as_ref()?.clients.get(&of)?);
        client.keys().find_map(|key| match self.hub.sink(key) {
            Some(Connection { phase: Phase::Datagrams(leased), .. }) => {
                leased.channels.iter().find(|leased| leased.name == *channel).map(|leased| (key, leased.slot))
            }
            _ => None,
        })
    }

    fn is_complete(&mut self, key: SubscriberKey) -> bool {
        matches!(self.hub.sink(key), Some(Connection { link: Link::Datagrams(peer), .. }) if peer.complete)
    }

    /// The connection that a subscription of this kind belongs to; it is made where there is none yet.
    fn leased_connection(&mut self, of: SocketAddr, complete: bool) -> Result<SubscriberKey, (&'static str, String)> {
        let (now_ms, clock, limits) = (self.now_ms(), self.shared.clock, self.shared.config.udp.clone());
        let followed = self.followed_over_udp(of);
        if followed >= limits.subscriptions_max {
            let max = limits.subscriptions_max;
            return Err(("too-many-subscriptions", format!("an address may follow {max} channels; unsubscribe from one")));
        }
        if let Some(key) = self.udp.as_ref().and_then(|udp| udp.clients.get(&of)?.key(complete)) {
            return Ok(key);
        }
        // For the bounds by address, a client is a connection like any other.
        let guest = self
            .shared
            .admission
            .pass_on(of.ip(), &self.shared.admission_limits)
            .map_err(|refusal| (refusal.code(), refusal.to_string()))?;
        let visitor = Visitor { guest, ..Visitor::exempt(Door::Udp) };
        let workers = self.shared.workers;
        let Some(udp) = &mut self.udp else { return Err(("going-away", "there is no UDP here".to_owned())) };
        let client = match udp.clients.get(&of) {
            Some(client) => Rc::clone(client),
            None if udp.clients.len() >= limits.clients_max.div_ceil(workers) => {
                return Err(("too-many-clients", "the server follows for as many addresses as it may; come back later".to_owned()));
            }
            None => {
                let client = Rc::new(Client::new(of, &limits, now_ms));
                udp.clients.insert(of, Rc::clone(&client));
                client
            }
        };
        let peer = Rc::new(Peer {
            socket: Rc::clone(&udp.socket),
            client: Rc::clone(&client),
            clock,
            datagram_bytes_max: limits.datagram_bytes_max.as_usize(),
            complete,
            own: Cell::default(),
            is_stirred: Cell::default(),
            stirred: Rc::clone(&udp.stirred),
        });
        let (key, generation) = self.add(Link::Datagrams(Rc::clone(&peer)), TransportKind::Udp, visitor);
        peer.own.set((key, generation));
        client.set_key(complete, key);
        if let Some(connection) = self.hub.sink(key) {
            // What it sends comes by the worker's socket.
            connection.half_closed = true;
            connection.phase = Phase::Datagrams(Box::<Leased>::default());
        }
        Ok(key)
    }

    fn followed_over_udp(&mut self, of: SocketAddr) -> usize {
        let Some(client) = self.udp.as_ref().and_then(|udp| udp.clients.get(&of)).map(Rc::clone) else { return 0 };
        let count = |key| match self.hub.sink(key) {
            Some(Connection { phase: Phase::Datagrams(leased), .. }) => leased.channels.len(),
            _ => 0,
        };
        client.keys().map(count).sum()
    }

    fn refuse_not_subscribed(&mut self, channel: &ChannelName, id: Option<&Id>, replies: &mut BytesMut) {
        self.metrics.fault("not-subscribed");
        let message = format!("{channel} is not followed by this address, or its lease has ended; subscribe after your cursor");
        self.refuse_command(id, "not-subscribed", &message, replies);
    }

    /// An error, cut so that it fits into a datagram whatever it quotes.
    fn refuse_command(&mut self, id: Option<&Id>, code: &str, message: &str, replies: &mut BytesMut) {
        let max = self.shared.config.udp.datagram_bytes_max.as_usize();
        let start = replies.len();
        for chars_max in [usize::MAX, 100, 0] {
            let cut: String = message.chars().take(chars_max).collect();
            native::write_error(id, code, &cut, replies);
            replies.extend_from_slice(b"\n");
            if replies.len() - start <= max {
                return;
            }
            replies.truncate(start);
        }
    }
}

/// How many publications are read for a repair; what they may have in bytes is the pace's matter.
const REPAIRED_MAX: usize = 512;
