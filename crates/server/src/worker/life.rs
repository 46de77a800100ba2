//! The life of a connection: how it is taken up, told why it ends, and let go.

use std::net::IpAddr;
use std::rc::Rc;

use bongsu_core::disconnect::Disconnect;
use bongsu_core::hub::SubscriberKey;
use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tracing::debug;

use super::Worker;
use super::door::Door;
use crate::admission::Visitor;
use crate::config::Period;
use crate::connection::{Connection, Phase, close_reason};
use crate::link::Link;
use crate::metrics::{CloseReason, TransportKind};
use crate::tls::TlsLink;

impl Worker {
    /// Takes up a connection that was accepted.
    pub(crate) fn accept(&mut self, stream: TcpStream, door: Door, address: IpAddr) {
        let visitor = match self.admit(door, address) {
            Ok(visitor) => visitor,
            Err(refusal) => return self.turn_away(&stream, door, &refusal),
        };
        let config = &self.shared.config;
        let tls = self.shared.tls.as_ref().and_then(|tls| tls.of_door(door));
        // Both are improvements, not conditions.
        _ = stream.set_nodelay(true);
        if config.delivery.send_buffer_bytes.get() > 0 {
            _ = socket2::SockRef::from(&stream).set_send_buffer_size(config.delivery.send_buffer_bytes.as_usize());
        }
        if config.delivery.unsent_bytes_max.get() > 0 {
            let unsent_bytes_max = u32::try_from(config.delivery.unsent_bytes_max.get()).unwrap_or(u32::MAX);
            _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(unsent_bytes_max);
        }
        // A request that is late is waited for; in the other protocols silence may be long.
        let keepalive = match door {
            Door::Http | Door::Redirect | Door::Admin | Door::Udp => None,
            Door::Tcp => Some(config.tcp.keepalive),
            Door::Stomp => Some(config.stomp.keepalive),
        };
        if let Some(period) = keepalive.map(Period::get) {
            let probes = socket2::TcpKeepalive::new().with_time(period).with_interval(period / 4).with_retries(3);
            _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&probes);
        }
        let handshake_timeout_ms = tls.is_some().then_some(config.tls.handshake_timeout.as_millis());
        let link = match tls {
            Some(tls) => Link::Tls(TlsLink::new(stream, tls)),
            None => Link::Plain(Rc::new(stream)),
        };
        let (key, _) = self.add(link, door.kind(), visitor);
        debug!(key, listener = door.name(), %address, "a connection is taken up");
        match door {
            Door::Http | Door::Admin | Door::Udp => (),
            Door::Tcp => self.open_lines(key),
            Door::Stomp => self.open_stomp(key),
            Door::Redirect => self.send_elsewhere(key),
        }
        match handshake_timeout_ms {
            Some(timeout_ms) => self.arm(key, self.now_ms() + timeout_ms),
            None if matches!(door, Door::Http | Door::Redirect | Door::Admin) => self.await_first(key),
            None => (),
        }
        self.read_on(key);
    }

    /// Whether there are as many connections as there may be; a stream of an HTTP/2 connection is one. A few places are kept for
    /// whoever asks after the numbers.
    pub(crate) fn is_full_for(&self, door: Door) -> bool {
        let spare = if door == Door::Admin { ADMIN_CONNECTIONS_SPARE } else { 0 };
        self.shared.metrics.connections() >= self.shared.config.http.connections_max as u64 + spare
    }

    /// Makes a connection of a link.
    pub(crate) fn add(&mut self, link: Link, kind: TransportKind, visitor: Visitor) -> (SubscriberKey, u32) {
        self.generations = self.generations.wrapping_add(1);
        let key = self.hub.add(Connection::new(link, kind, self.generations, visitor));
        self.metrics.opened(kind);
        // Whoever comes while the server takes its leave is told too.
        if let Some(leaving) = &mut self.leaving {
            leaving.to_tell.push((key, self.generations));
        }
        (key, self.generations)
    }

    /// Tells a connection why it ends, in its transport's own words, and lets it go once that is out.
    pub(crate) fn disconnect(&mut self, key: SubscriberKey, why: &Disconnect) {
        let reason = close_reason(why);
        let Some(connection) = self.hub.sink(key) else { return };
        let is_answered = matches!(connection.phase, Phase::Head | Phase::Body(_));
        let is_closing = matches!(connection.phase, Phase::Closing(_));
        if (is_answered || is_closing) && *why == Disconnect::Overloaded && self.owes(key) {
            // What it does not take is to be let go now, and a word to it would have to wait behind that.
            return self.close(key, reason);
        }
        if is_closing {
            return;
        }
        let Some(connection) = self.hub.sink(key) else { return };
        let is_websocket = matches!(connection.phase, Phase::WebSocket(_));
        let address = connection.visitor.guest.as_ref().map(|guest| tracing::field::display(guest.address()));
        debug!(key, reason = why.label(), address, "disconnecting");
        self.hub.quiet(key);
        let grace_ms = match why {
            Disconnect::Slow { .. } => SLOW_GRACE_MS,
            _ if is_websocket => self.close_timeout_ms(),
            _ => HTTP_GRACE_MS,
        };
        let farewell = self.farewell(key, why);
        if farewell.is_empty() && !self.owes(key) {
            return self.close(key, reason);
        }
        self.finish(key, farewell, reason, grace_ms);
    }

    /// Sends the last bytes, then closes.
    pub(crate) fn finish(&mut self, key: SubscriberKey, last: Bytes, reason: CloseReason, grace_ms: u64) {
        let now_ms = self.now_ms();
        self.stop_waiting(key);
        self.stop_consuming(key, reason);
        // A goodbye is not held to a bound that may be the reason for it: the outbox was emptied of all else.
        if !last.is_empty() && self.hub.send(key, last, now_ms).is_err() {
            return self.close(key, reason);
        }
        let Some(connection) = self.hub.sink(key) else { return };
        self.metrics.closed(connection.kind, reason);
        connection.phase = Phase::Closing(reason);
        connection.held = None;
        connection.unread = BytesMut::new();
        self.weigh(key);
        self.arm(key, now_ms + grace_ms);
        self.read_on(key);
        if self.hub.waiting_bytes(key) == 0 {
            self.on_drained(key);
        }
    }

    /// Ends a connection at once.
    pub(crate) fn close(&mut self, key: SubscriberKey, reason: CloseReason) {
        self.stop_waiting(key);
        self.stop_consuming(key, reason);
        self.answers.remove(&key);
        let Some(connection) = self.hub.remove(key) else { return };
        self.unweigh(&connection);
        connection.link.cut();
        if let Link::Datagrams(peer) = &connection.link {
            self.forget_client(&peer.client, key);
        }
        if let Some(kind) = connection.paused {
            self.metrics.reading_resumed(kind);
        }
        if !matches!(connection.phase, Phase::Closing(_)) {
            self.metrics.closed(connection.kind, reason);
        }
    }

    pub(super) fn close_timeout_ms(&self) -> u64 {
        self.shared.config.websocket.close_timeout.as_millis()
    }
}

/// How long a connection may stay to notice that its last answer was given.
pub(crate) const LINGER_MS: u64 = 2000;
/// What the admin listener may have beside all others.
const ADMIN_CONNECTIONS_SPARE: u64 = 64;
/// How long one who is closed as slow has for its goodbye.
const SLOW_GRACE_MS: u64 = 500;
/// How long an HTTP client that was told goodbye may take to hang up.
const HTTP_GRACE_MS: u64 = 1000;
