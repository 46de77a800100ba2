//! One event loop on one thread, and all that it owns: connections, their delivery, their deadlines. A connection never leaves
//! its worker. Tasks only wait; everything that is decided or moved happens here, between two waits.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bongsu_core::disconnect::Disconnect;
use bongsu_core::encoding::Encoder;
use bongsu_core::hub::{Announcement, Hub, HubEvent, HubLimits, SubscriberKey};
use bongsu_core::websocket::deflate::Inflater;
use bytes::{Bytes, BytesMut};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tracing::debug;

use crate::connection::{Connection, Phase, close_reason};
use crate::deadlines::{Deadlines, Entry};
use crate::engine::{Engine, EngineHandle};
use crate::http::Problem;
use crate::http::coding::Coder;
use crate::http2::Peers;
use crate::link::{Link, Read};
use crate::metrics::{CloseReason, TransportKind, WorkerMetrics};
use crate::shared::Shared;
use crate::tally::Tallies;

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
    index: usize,
    me: Weak<RefCell<Worker>>,
    deadlines: Deadlines,
    due: Vec<Entry>,
    announced: Vec<Announcement>,
    read_buffer: BytesMut,
    /// Serves every WebSocket here whose messages are each compressed by themselves.
    pub(crate) inflater: Inflater,
    /// Codes the answers to polls.
    pub(crate) coder: Coder,
    generations: u32,
    tallies: Tallies,
    ticks: u64,
}

/// Which listener a connection came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// HTTP and WebSocket.
    Http,
    /// Lines of the native protocol.
    Tcp,
}

impl Door {
    /// The listener's name in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }

    /// What one connection too many is told.
    fn overloaded(self) -> Bytes {
        match self {
            Self::Http => Problem::new(503, "too-many-connections", "the server is at its limits; come back later")
                .with("retry-after", 5)
                .into_response()
                .into_bytes(false, false),
            Self::Tcp => Bytes::from_static(
                b"{\"bye\":{\"code\":1013,\"reason\":\"the server is at its limits; come back later\",\"reconnect_ms\":5000}}\n",
            ),
        }
    }
}

/// A worker on its way out.
pub(crate) struct Leaving {
    /// Who is still to be told goodbye.
    pub(crate) to_tell: Vec<(SubscriberKey, u32)>,
    /// How many are told in a tick.
    pub(crate) per_tick: usize,
    /// Until when those wait to be told who have only just connected: their request may be on its way.
    pub(crate) newcomers_until_ms: u64,
    /// When it ends whoever is left.
    pub(crate) until_ms: u64,
}

/// What a reader does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Waits for more.
    On,
    /// Lets others run, then reads on.
    Yield,
    /// Ends; it is started again when there is room.
    Off,
    /// Ends; the socket, of which these bytes were read, speaks HTTP/2.
    Handover(Bytes),
}

impl Worker {
    pub(crate) fn start(shared: Arc<Shared>, index: usize, encoder: Encoder) -> WorkerRef {
        let limits = hub_limits(&shared);
        let coder = coder(&shared);
        Rc::new_cyclic(|me| {
            RefCell::new(Self {
                hub: Hub::new(encoder, limits),
                metrics: shared.metrics.worker(index),
                rng: SmallRng::from_rng(&mut rand::rng()),
                leaving: None,
                http2: Peers::default(),
                index,
                me: me.clone(),
                deadlines: Deadlines::new(shared.clock.now_ms()),
                due: Vec::new(),
                announced: Vec::new(),
                read_buffer: BytesMut::new(),
                inflater: Inflater::new(),
                coder,
                generations: 0,
                tallies: Tallies::default(),
                ticks: 0,
                shared,
            })
        })
    }

    /// Goes on under another configuration.
    pub(crate) fn go_on_under(&mut self, shared: Arc<Shared>) {
        self.hub.reconfigure(hub_limits(&shared), |channel| shared.rules.of(channel));
        self.hub.encoder_mut().reconfigure(shared.deflate);
        self.coder = coder(&shared);
        self.shared = shared;
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
    pub(crate) fn accept(&mut self, stream: TcpStream, door: Door) {
        let config = &self.shared.config;
        if self.is_full() {
            // One try: who is not ready to read a refusal is closed without it.
            _ = stream.try_write(&door.overloaded());
            self.metrics.fault("too-many-connections");
            return;
        }
        // Both are improvements, not conditions.
        _ = stream.set_nodelay(true);
        if config.delivery.send_buffer_bytes.get() > 0 {
            _ = socket2::SockRef::from(&stream).set_send_buffer_size(config.delivery.send_buffer_bytes.as_usize());
        }
        let due_ms = self.now_ms() + config.http.head_timeout.as_millis();
        let (link, kind) = (Link::Plain(Rc::new(stream)), if door == Door::Tcp { TransportKind::Tcp } else { TransportKind::Http });
        if door == Door::Tcp {
            let period = config.tcp.keepalive.get();
            let probes = socket2::TcpKeepalive::new().with_time(period).with_interval(period / 4).with_retries(3);
            if let Link::Plain(stream) = &link {
                _ = socket2::SockRef::from(&**stream).set_tcp_keepalive(&probes);
            }
        }
        let (key, _) = self.add(link, kind);
        match door {
            Door::Http => self.arm(key, due_ms),
            Door::Tcp => self.set_phase(key, Phase::Lines(Box::default())),
        }
        self.read_on(key);
    }

    /// Whether there are as many connections as there may be. A stream of an HTTP/2 connection is one.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.metrics.connections() >= self.shared.config.http.connections_max as u64
    }

    /// Makes a connection of a link.
    pub(crate) fn add(&mut self, link: Link, kind: TransportKind) -> (SubscriberKey, u32) {
        self.generations = self.generations.wrapping_add(1);
        let key = self.hub.add(Connection::new(link, kind, self.generations));
        self.metrics.opened(kind);
        // Whoever comes while the server takes its leave is told too.
        if let Some(leaving) = &mut self.leaving {
            leaving.to_tell.push((key, self.generations));
        }
        (key, self.generations)
    }

    /// Starts the task that waits for something to read, unless it runs.
    pub(crate) fn read_on(&mut self, key: SubscriberKey) {
        let Some(connection) = self.hub.sink(key) else { return };
        if connection.reader.is_some() || connection.half_closed {
            return;
        }
        let (link, generation) = (connection.link.clone(), connection.generation);
        let Some(worker) = self.me.upgrade() else { return };
        let reader = spawn_local(read(worker, link, key, generation)).abort_handle();
        if let Some(connection) = self.hub.sink(key) {
            connection.reader = Some(reader);
        }
    }

    /// Reads what is there and acts on it.
    fn on_readable(&mut self, key: SubscriberKey, generation: u32) -> Reading {
        for _ in 0..READS_MAX {
            let mut buffer = std::mem::take(&mut self.read_buffer);
            let Some(connection) = self.hub.sink(key).filter(|connection| connection.generation == generation) else {
                self.read_buffer = buffer;
                return Reading::Off;
            };
            let own = !connection.unread.is_empty();
            let mut input = if own { std::mem::take(&mut connection.unread) } else { std::mem::take(&mut buffer) };
            input.reserve(if own { input.len().clamp(4 << 10, READ_BUFFER_BYTES) } else { READ_BUFFER_BYTES });
            let read = connection.link.try_read(&mut input);
            match read {
                Read::Some => self.on_input(key, &mut input),
                Read::Nothing => (),
                Read::End => self.on_stream_end(key, &mut input),
                Read::Closed => self.on_end(key),
                Read::Broken => self.close(key, CloseReason::Vanished),
            }
            if let Some(first) = self.hand_over(key, generation, &mut input) {
                self.read_buffer = buffer;
                return Reading::Handover(first);
            }
            self.keep_unread(key, generation, &mut input);
            if own {
                self.read_buffer = buffer;
            } else {
                input.clear();
                self.read_buffer = input;
            }
            self.settle();
            match read {
                Read::Some => (),
                Read::Nothing | Read::End => return Reading::On,
                Read::Closed | Read::Broken => return Reading::Off,
            }
            if self.is_stalled(key) {
                if let Some(connection) = self.hub.sink(key) {
                    connection.reader = None;
                }
                return Reading::Off;
            }
        }
        Reading::Yield
    }

    /// Gives up a connection whose first bytes are of another protocol, and returns them. It ends when its new owner says so.
    fn hand_over(&mut self, key: SubscriberKey, generation: u32, input: &mut BytesMut) -> Option<Bytes> {
        let connection = self.hub.sink(key).filter(|connection| connection.generation == generation)?;
        if !matches!(connection.phase, Phase::Handover) {
            return None;
        }
        // The task that reads goes on with the socket.
        connection.reader = None;
        self.hub.remove(key);
        Some(Bytes::copy_from_slice(&input.split()))
    }

    /// Keeps what could not be used yet: in memory of its own, unless it already is.
    fn keep_unread(&mut self, key: SubscriberKey, generation: u32, input: &mut BytesMut) {
        let Some(connection) = self.hub.sink(key).filter(|connection| connection.generation == generation) else { return };
        if !input.is_empty() {
            connection.unread = BytesMut::from(&input[..]);
        }
    }

    /// Whether a connection is not to be read from: its answers wait to be taken, or it sent ahead more than it may.
    fn is_stalled(&mut self, key: SubscriberKey) -> bool {
        let waiting_bytes = self.hub.waiting_bytes(key);
        let own_max = self.shared.config.delivery.outbox_bytes_max.as_usize() / 2;
        let ahead_max = self.shared.config.http.head_bytes_max.as_usize();
        let Some(connection) = self.hub.sink(key) else { return false };
        match &connection.phase {
            Phase::Head | Phase::Body(_) => waiting_bytes > 0,
            Phase::Waiting(_) => connection.unread.len() > ahead_max,
            Phase::WebSocket(_) | Phase::Lines(_) => waiting_bytes > own_max,
            Phase::Streaming(_) | Phase::Closing(_) | Phase::Handover => false,
        }
    }

    /// Acts on what a connection sent, as far as it can.
    fn on_input(&mut self, key: SubscriberKey, input: &mut BytesMut) {
        loop {
            let waits = self.hub.waiting_bytes(key) > 0;
            let Some(connection) = self.hub.sink(key) else { return };
            let went_on = match &connection.phase {
                Phase::Head | Phase::Body(_) if waits => false,
                Phase::Head => self.on_head(key, input),
                Phase::Body(_) => self.on_body(key, input),
                Phase::WebSocket(_) => self.on_websocket(key, input),
                Phase::Lines(_) => self.on_lines(key, input),
                Phase::Waiting(_) | Phase::Handover => false,
                Phase::Streaming(_) | Phase::Closing(_) => {
                    // After the request of a stream nothing is expected, and it ends the connection.
                    input.clear();
                    false
                }
            };
            if !went_on {
                return;
            }
        }
    }

    /// The peer sends no more.
    fn on_end(&mut self, key: SubscriberKey) {
        let owed = self.hub.waiting_bytes(key) > 0;
        let Some(connection) = self.hub.sink(key) else { return };
        if owed && matches!(connection.phase, Phase::Head) {
            // It has asked all that it wanted and still reads the answer.
            return self.finish(key, Bytes::new(), CloseReason::Client, self.close_timeout_ms());
        }
        let reason = match &connection.phase {
            Phase::Lines(_) => return self.on_lines_end(key),
            Phase::Closing(reason) => *reason,
            Phase::Head if connection.unread.is_empty() => CloseReason::Client,
            Phase::WebSocket(_) | Phase::Head | Phase::Body(_) => CloseReason::Vanished,
            Phase::Waiting(_) | Phase::Streaming(_) | Phase::Handover => CloseReason::Client,
        };
        self.close(key, reason);
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
        let now_ms = self.now_ms();
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
        let Some(connection) = self.hub.sink(key) else { return };
        match connection.phase {
            Phase::Closing(reason) if connection.half_closed => self.close(key, reason),
            Phase::Closing(reason) => {
                connection.link.shut_write();
                match connection.link.lingers() {
                    true if reason == CloseReason::Done => self.arm(key, self.now_ms() + LINGER_MS),
                    true => (),
                    false => self.close(key, reason),
                }
            }
            _ if connection.reader.is_none() => self.resume(key),
            _ => (),
        }
    }

    /// Acts on what was read while it could not be acted on, and reads on.
    pub(crate) fn resume(&mut self, key: SubscriberKey) {
        let Some(connection) = self.hub.sink(key) else { return };
        let mut input = std::mem::take(&mut connection.unread);
        let generation = connection.generation;
        if !input.is_empty() {
            self.on_input(key, &mut input);
            self.keep_unread(key, generation, &mut input);
        }
        if !self.is_stalled(key) {
            self.read_on(key);
        }
    }

    /// Delivers all that was announced so far.
    pub(crate) fn turn(&mut self) {
        let mut announced = std::mem::take(&mut self.announced);
        self.engine().inbox(self.index).drain_into(&mut announced);
        let now_ms = self.now_ms();
        self.hub.turn(announced.drain(..), now_ms);
        self.announced = announced;
    }

    /// Does what delivery asked for.
    pub(crate) fn settle(&mut self) {
        loop {
            let events = self.hub.take_events();
            if events.is_empty() {
                break;
            }
            for event in events {
                match event {
                    HubEvent::Blocked(key) => self.write_on(key),
                    HubEvent::Gone(key) => self.close(key, CloseReason::Vanished),
                    HubEvent::Close(key, why) => self.disconnect(key, &why),
                    HubEvent::Arrived { channel, from, publications, waiters } => self.arrived(&channel, from, &publications, &waiters),
                }
            }
        }
        for reason in self.hub.take_gaps() {
            self.metrics.gap(reason);
        }
    }

    /// Waits, once, until a blocked connection takes more.
    fn write_on(&mut self, key: SubscriberKey) {
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
        if matches!(connection.phase, Phase::Closing(_)) {
            return;
        }
        let is_websocket = matches!(connection.phase, Phase::WebSocket(_));
        debug!(key, reason = why.label(), "disconnecting");
        self.hub.quiet(key);
        let grace_ms = match why {
            Disconnect::Slow { .. } => SLOW_GRACE_MS,
            _ if is_websocket => self.close_timeout_ms(),
            _ => HTTP_GRACE_MS,
        };
        let farewell = self.farewell(key, why);
        if farewell.is_empty() && self.hub.waiting_bytes(key) == 0 {
            return self.close(key, reason);
        }
        self.finish(key, farewell, reason, grace_ms);
    }

    /// Sends the last bytes, then closes.
    pub(crate) fn finish(&mut self, key: SubscriberKey, last: Bytes, reason: CloseReason, grace_ms: u64) {
        let now_ms = self.now_ms();
        self.stop_waiting(key);
        // A goodbye is not held to a bound that may be the reason for it: the outbox was emptied of all else.
        if !last.is_empty() && self.hub.send(key, last, now_ms).is_err() {
            return self.close(key, reason);
        }
        let Some(connection) = self.hub.sink(key) else { return };
        self.metrics.closed(connection.kind, reason);
        connection.phase = Phase::Closing(reason);
        connection.unread = BytesMut::new();
        self.arm(key, now_ms + grace_ms);
        self.read_on(key);
        if self.hub.waiting_bytes(key) == 0 {
            self.on_drained(key);
        }
    }

    /// Ends a connection at once.
    pub(crate) fn close(&mut self, key: SubscriberKey, reason: CloseReason) {
        self.stop_waiting(key);
        let Some(connection) = self.hub.remove(key) else { return };
        connection.link.cut();
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
        if let Some(connection) = self.hub.sink(key) {
            connection.phase = phase;
        }
    }

    /// Has `on_due` called for a connection, unless it is armed anew before.
    pub(crate) fn arm(&mut self, key: SubscriberKey, due_ms: u64) {
        let Some(connection) = self.hub.sink(key) else { return };
        connection.due_ms = due_ms;
        // An entry that comes up earlier sees that it is not yet due and goes back.
        if due_ms < connection.armed_ms {
            connection.armed_ms = due_ms;
            let generation = connection.generation;
            self.deadlines.arm(key, generation, due_ms);
        }
    }

    /// What happens with time. Called every tick.
    pub(crate) fn tick(&mut self) {
        let now_ms = self.now_ms();
        let mut due = std::mem::take(&mut self.due);
        self.deadlines.take_due(now_ms, &mut due);
        for entry in due.drain(..) {
            let Some(connection) = self.hub.sink(entry.key).filter(|connection| connection.generation == entry.generation) else {
                continue;
            };
            connection.armed_ms = u64::MAX;
            match connection.due_ms {
                u64::MAX => (),
                due_ms if due_ms > now_ms => self.arm(entry.key, due_ms),
                _ => self.on_due(entry.key, now_ms),
            }
        }
        self.due = due;
        self.ticks += 1;
        if self.ticks.is_multiple_of(TICKS_PER_LAG_CHECK) {
            self.close_slow(now_ms);
        }
        if self.ticks.is_multiple_of(TICKS_PER_SWEEP) {
            self.sweep();
        }
        self.go_on_leaving(now_ms);
        self.settle();
    }

    fn on_due(&mut self, key: SubscriberKey, now_ms: u64) {
        let Some(connection) = self.hub.sink(key) else { return };
        match &connection.phase {
            Phase::Head | Phase::Body(_) => self.on_request_due(key),
            Phase::Waiting(_) => self.on_wait_over(key),
            Phase::Streaming(_) => self.on_heartbeat_due(key, now_ms),
            Phase::WebSocket(_) => self.on_ping_due(key, now_ms),
            // The system probes whether the peer is there.
            Phase::Lines(_) => (),
            Phase::Handover => (),
            Phase::Closing(reason) => {
                let reason = *reason;
                self.close(key, reason);
            }
        }
    }

    fn close_slow(&mut self, now_ms: u64) {
        let shared = Arc::clone(&self.shared);
        let slow = self.hub.find_slow(&Self::watching(&shared, self.index), now_ms);
        for (key, why) in slow {
            self.disconnect(key, &why);
        }
        self.tallies.report(&self.hub, &self.metrics);
    }

    fn sweep(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.hub.sweep(&Self::watching(&shared, self.index));
        if self.index == 0 {
            shared.engine.sweep();
            shared.metrics.history_bytes().set(shared.engine.held_bytes() as i64);
            shared.metrics.channels().set(shared.engine.channels() as i64);
        }
    }

    /// Begins to take leave: everyone is told goodbye, at the configured pace, and whoever is left at the end is cut off.
    pub(crate) fn leave(&mut self) {
        let now_ms = self.now_ms();
        let config = &self.shared.config.shutdown;
        let (timeout_ms, pace) = (config.timeout.as_millis(), config.pace_per_second);
        let to_tell = self.hub.keys().map(|(key, connection)| (key, connection.generation)).collect::<Vec<_>>();
        // Even at a slow pace all are told in the first half of the time, so that the last can still hear it.
        let ticks = (timeout_ms / 2 / crate::deadlines::TICK_MS).max(1) as usize;
        let share = pace.div_ceil(self.shared.workers).div_ceil(1000 / crate::deadlines::TICK_MS as usize);
        let per_tick = share.max(to_tell.len().div_ceil(ticks)).max(1);
        self.http2.leave();
        let newcomers_until_ms = now_ms + NEWCOMER_MS.min(timeout_ms / 2);
        self.leaving = Some(Leaving { to_tell, per_tick, newcomers_until_ms, until_ms: now_ms + timeout_ms });
        self.go_on_leaving(now_ms);
        self.settle();
    }

    fn go_on_leaving(&mut self, now_ms: u64) {
        let Some(leaving) = &mut self.leaving else { return };
        let from = leaving.to_tell.len().saturating_sub(leaving.per_tick);
        let told: Vec<_> = leaving.to_tell.drain(from..).collect();
        let (over, newcomers_wait) = (now_ms >= leaving.until_ms, now_ms < leaving.newcomers_until_ms);
        let mut wait = Vec::new();
        for (key, generation) in told {
            // A request that is here already is still answered.
            if self.is_between_requests(key, generation) {
                self.on_readable(key, generation);
            }
            let Some(connection) = self.hub.sink(key).filter(|connection| connection.generation == generation) else { continue };
            if newcomers_wait && connection.fresh {
                wait.push((key, generation));
            } else {
                self.disconnect(key, &Disconnect::Shutdown);
            }
        }
        if let Some(leaving) = &mut self.leaving {
            leaving.to_tell.splice(..0, wait);
        }
        if over {
            let left: Vec<_> = self.hub.keys().map(|(key, _)| key).collect();
            left.into_iter().for_each(|key| self.close(key, CloseReason::Shutdown));
            self.cut_http2();
        }
    }

    fn is_between_requests(&mut self, key: SubscriberKey, generation: u32) -> bool {
        let connection = self.hub.sink(key).filter(|connection| connection.generation == generation);
        connection.is_some_and(|connection| matches!(connection.phase, Phase::Head) && !connection.fresh)
    }

    /// Whether it has nobody left.
    pub(crate) fn is_alone(&self) -> bool {
        self.hub.subscribers() == 0 && self.http2.is_empty()
    }

    /// In how many milliseconds a client that is told goodbye may come back; drawn anew for each, so that they do not come at once.
    pub(crate) fn reconnect_ms(&mut self) -> u64 {
        let config = &self.shared.config.shutdown;
        let (min, max) = (config.reconnect_min.as_millis(), config.reconnect_max.as_millis());
        self.rng.random_range(min..=max.max(min))
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
        stalled_ms_max: shared.config.delivery.lag_age_max.as_millis(),
    }
}

fn coder(shared: &Shared) -> Coder {
    let http = &shared.config.http;
    Coder::new(http.compression, http.compression_level, http.compression_threshold.as_usize())
}

/// Waits for something to read, reads it, and so on.
async fn read(worker: WorkerRef, link: Link, key: SubscriberKey, generation: u32) {
    loop {
        link.readable().await;
        let reading = worker.borrow_mut().on_readable(key, generation);
        match reading {
            Reading::On => (),
            Reading::Yield => tokio::task::yield_now().await,
            Reading::Off => return,
            Reading::Handover(first) => {
                let Link::Plain(stream) = link else { return };
                if let Some(stream) = Rc::into_inner(stream) {
                    let again = WorkerRef::clone(&worker);
                    worker.borrow_mut().take_up_http2(again, stream, first);
                }
                return;
            }
        }
    }
}

/// How often a connection is read from before others have their turn.
const READS_MAX: usize = 8;
/// How much is read at once.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// What the tapes of one worker may hold together.
const TAPES_BYTES_MAX: usize = 64 << 20;
const TICKS_PER_LAG_CHECK: u64 = 5;
const TICKS_PER_SWEEP: u64 = 20;
/// How long a connection may stay to notice that its last answer was given.
pub(crate) const LINGER_MS: u64 = 2000;
/// How long one who is closed as slow has for its goodbye.
const SLOW_GRACE_MS: u64 = 500;
/// How long an HTTP client that was told goodbye may take to hang up.
const HTTP_GRACE_MS: u64 = 1000;
/// How long the first request of one who has just connected may take, when the server is about to end.
const NEWCOMER_MS: u64 = 300;
