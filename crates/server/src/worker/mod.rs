//! One event loop on one thread, and all that it owns: connections, their delivery, their deadlines. A connection never leaves
//! its worker. Tasks only wait; everything that is decided or moved happens here, between two waits.

mod answering;
mod door;
pub(crate) mod held;
mod leaving;
mod reading;
mod time;
mod tls;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bongsu_core::disconnect::Disconnect;
use bongsu_core::encoding::Encoder;
use bongsu_core::hub::{Announcement, Hub, HubEvent, HubLimits, SubscriberKey};
use bongsu_core::websocket::deflate::Inflater;
use bytes::{Bytes, BytesMut};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tracing::debug;

use crate::admission::Visitor;
use crate::budget::Burden;
use crate::config::Period;
use crate::connection::{Connection, Phase, close_reason};
use crate::deadlines::{Deadlines, Entry};
use crate::engine::{Engine, EngineHandle};
use crate::http::coding::Coder;
use crate::http2::Peers;
use crate::link::Link;
use crate::metrics::{CloseReason, TransportKind, WorkerMetrics};
use crate::pacing::Paused;
use crate::shared::Shared;
use crate::tally::Tallies;
use crate::tls::TlsLink;
use crate::transport::stomp::Consumers;
use crate::transport::udp::Udp;
use answering::Answers;
pub(crate) use door::Door;
use held::Held;
use leaving::Leaving;
use reading::Readable;

/// A worker, shared by the tasks of its thread.
pub(crate) type WorkerRef = Rc<RefCell<Worker>>;

/// What one thread owns.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) hub: Hub<Connection>,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) rng: SmallRng,
    pub(crate) leaving: Option<Leaving>,
    pub(crate) http2: Peers,
    /// Who consumes queues.
    pub(crate) consumers: Consumers,
    index: usize,
    pub(crate) me: Weak<RefCell<Worker>>,
    deadlines: Deadlines,
    due: Vec<Entry>,
    announced: Vec<Announcement>,
    read_buffer: BytesMut,
    readable: Arc<Readable>,
    /// Serves every WebSocket here whose messages are each compressed by themselves.
    pub(crate) inflater: Inflater,
    /// Codes the answers to polls.
    pub(crate) coder: Coder,
    /// What its connections hold in memory.
    pub(crate) burden: Burden,
    pub(crate) paused: Paused,
    /// Connections that are still to say, by the PROXY protocol, whose they are.
    pub(crate) arriving: usize,
    generations: u32,
    held: Held,
    /// Answers that are written as they are taken.
    pub(crate) answers: Answers,
    tallies: Tallies,
    ticks: u64,
    /// Its part of UDP, if there is a listener.
    pub(crate) udp: Option<Box<Udp>>,
}

impl Worker {
    pub(crate) fn start(shared: Arc<Shared>, index: usize, mut encoder: Encoder) -> WorkerRef {
        encoder.set_datagram_bytes_max(shared.config.udp.datagram_bytes_max.as_usize());
        let limits = hub_limits(&shared);
        let coder = coder(&shared);
        Rc::new_cyclic(|me| {
            RefCell::new(Self {
                hub: Hub::new(encoder, limits),
                metrics: shared.metrics.worker(index),
                rng: SmallRng::from_rng(&mut rand::rng()),
                leaving: None,
                http2: Peers::default(),
                consumers: Consumers::default(),
                index,
                me: me.clone(),
                deadlines: Deadlines::new(shared.clock.now_ms()),
                due: Vec::new(),
                announced: Vec::new(),
                read_buffer: BytesMut::new(),
                readable: Arc::default(),
                inflater: Inflater::new(),
                coder,
                burden: Burden::default(),
                paused: Paused::default(),
                arriving: 0,
                generations: 0,
                held: Held::default(),
                answers: Answers::new(),
                tallies: Tallies::default(),
                ticks: 0,
                udp: None,
                shared,
            })
        })
    }

    /// Goes on under another configuration.
    pub(crate) fn go_on_under(&mut self, shared: Arc<Shared>) {
        self.hub.reconfigure(hub_limits(&shared), |channel| shared.rules.of(channel));
        self.hub.encoder_mut().reconfigure(shared.deflate);
        self.hub.encoder_mut().set_datagram_bytes_max(shared.config.udp.datagram_bytes_max.as_usize());
        self.coder = coder(&shared);
        self.shared = shared;
        self.retry_all_held();
    }

    /// Delivers what is announced, for as long as the thread lives.
    pub(crate) async fn deliver(worker: WorkerRef) {
        let (shared, index) = {
            let worker = worker.borrow();
            (Arc::clone(&worker.shared), worker.index)
        };
        loop {
            shared.engine.inbox(index).woken().await;
            let mut worker = worker.borrow_mut();
            worker.turn();
            worker.settle();
            worker.release_held();
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.shared.clock.now_ms()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// The engine, with this worker as the one that watches. Borrows nothing of the worker.
    pub(crate) fn watching<'a>(shared: &'a Shared, index: usize) -> EngineHandle<'a> {
        shared.engine.of_worker(index)
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

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

    /// What a blocked connection could not take may go now.
    fn on_writable(&mut self, key: SubscriberKey, generation: u32) {
        if self.hub.sink(key).is_some_and(|connection| connection.generation == generation) {
            self.pump(key);
            self.settle();
        }
    }

    /// Sends a connection bytes of its own, and what waits behind them.
    pub(crate) fn send(&mut self, key: SubscriberKey, bytes: Bytes) {
        self.send_at(key, bytes, self.now_ms());
    }

    /// The same, by a clock that was looked at: many are sent something at once.
    pub(crate) fn send_at(&mut self, key: SubscriberKey, bytes: Bytes, now_ms: u64) {
        if self.hub.send(key, bytes, now_ms).is_err() {
            self.disconnect(key, &Disconnect::Slow { cursor: None });
        }
    }

    /// Sends what a connection is owed.
    pub(crate) fn pump(&mut self, key: SubscriberKey) {
        let now_ms = self.now_ms();
        let shared = Arc::clone(&self.shared);
        self.hub.pump(key, &Self::watching(&shared, self.index), now_ms);
        if self.hub.waiting_bytes(key) == 0 {
            self.on_drained(key);
        }
    }

    /// All that a connection was owed has gone out.
    fn on_drained(&mut self, key: SubscriberKey) {
        if self.go_on_answering(key) {
            return;
        }
        self.send_queued(key);
        let Some(connection) = self.hub.sink(key) else { return };
        match connection.phase {
            Phase::Closing(_) if connection.link.owes() => self.write_on(key),
            Phase::Closing(reason) if connection.half_closed => self.close(key, reason),
            Phase::Closing(reason) => {
                connection.link.shut_write();
                match connection.link.lingers() {
                    true if reason == CloseReason::Done => self.arm(key, self.now_ms() + LINGER_MS),
                    true => (),
                    false => self.close(key, reason),
                }
            }
            Phase::Lines(_) if connection.half_closed => self.on_lines_end(key),
            Phase::Head if connection.reader.is_none() || connection.half_closed => {
                // Its time for the next request begins when it has taken the answer to this one.
                self.arm(key, self.now_ms() + self.shared.config.http.idle_timeout.as_millis());
                self.resume(key);
            }
            _ if connection.reader.is_none() || connection.half_closed => self.resume(key),
            _ => (),
        }
    }

    /// Delivers all that was announced so far.
    pub(crate) fn turn(&mut self) {
        let mut announced = std::mem::take(&mut self.announced);
        self.engine().inbox(self.index).drain_into(&mut announced);
        if !announced.is_empty() {
            let now_ms = self.now_ms();
            self.hub.turn(announced.drain(..), now_ms);
        }
        self.announced = announced;
    }

    /// Does what delivery asked for.
    pub(crate) fn settle(&mut self) {
        if self.hub.is_settled() && self.udp.is_none() {
            return;
        }
        loop {
            let events = self.hub.take_events();
            if events.is_empty() {
                break;
            }
            for event in events {
                match event {
                    HubEvent::Blocked(key) => {
                        self.write_on(key);
                        self.weigh_owed(key);
                    }
                    HubEvent::Gone(key) => self.close(key, CloseReason::Vanished),
                    HubEvent::Close(key, why) => self.disconnect(key, &why),
                    HubEvent::Arrived { channel, from, publications, waiters } => self.arrived(&channel, from, &publications, &waiters),
                }
            }
        }
        for reason in self.hub.take_gaps() {
            self.metrics.gap(reason);
        }
        // Where publishers wait for subscribers, it is told how far these have come.
        for progress in self.hub.take_progress(&self.shared.engine.of_worker(self.index)) {
            self.shared.engine.of_worker(self.index).taken(&progress);
        }
        self.on_stirred();
    }

    /// Waits, once, until a blocked connection takes more.
    pub(crate) fn write_on(&mut self, key: SubscriberKey) {
        let Some(connection) = self.hub.sink(key) else { return };
        let (link, generation) = (connection.link.clone(), connection.generation);
        let me = self.me.clone();
        spawn_local(async move {
            link.writable().await;
            if let Some(worker) = me.upgrade() {
                worker.borrow_mut().on_writable(key, generation);
            }
        });
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

    /// A connection carries publications in another way from now on.
    pub(crate) fn become_kind(&mut self, key: SubscriberKey, kind: TransportKind) {
        let Some(connection) = self.hub.sink(key) else { return };
        let from = std::mem::replace(&mut connection.kind, kind);
        if from != kind {
            self.metrics.became(from, kind);
        }
    }

    /// Sets what a connection is about.
    pub(crate) fn set_phase(&mut self, key: SubscriberKey, phase: Phase) {
        let Some(connection) = self.hub.sink(key) else { return };
        if matches!(phase, Phase::Head) && connection.visitor.from_proxy {
            // The next request that the proxy passes on may be another's.
            connection.visitor.guest = None;
        }
        connection.phase = phase;
    }

    fn close_timeout_ms(&self) -> u64 {
        self.shared.config.websocket.close_timeout.as_millis()
    }
}

fn hub_limits(shared: &Shared) -> HubLimits {
    HubLimits {
        tape_bytes_max: shared.config.delivery.tape_bytes_max.as_usize(),
        tapes_bytes_max: TAPES_BYTES_MAX,
        outbox_bytes_max: shared.config.delivery.outbox_bytes_max.as_usize(),
        stalled_ms_max: shared.config.delivery.answer_timeout.as_millis(),
        silent_ms_max: shared.config.delivery.silent_max.as_millis(),
    }
}

fn coder(shared: &Shared) -> Coder {
    let http = &shared.config.http;
    Coder::new(http.compression, http.compression_level, http.compression_threshold.as_usize())
}

/// What the tapes of one worker may hold together.
const TAPES_BYTES_MAX: usize = 64 << 20;
/// How long a connection may stay to notice that its last answer was given.
pub(crate) const LINGER_MS: u64 = 2000;
/// What the admin listener may have beside all others.
const ADMIN_CONNECTIONS_SPARE: u64 = 64;
/// How long one who is closed as slow has for its goodbye.
const SLOW_GRACE_MS: u64 = 500;
/// How long an HTTP client that was told goodbye may take to hang up.
const HTTP_GRACE_MS: u64 = 1000;
