//! One event loop on one thread, and all that it owns: connections, their delivery, their deadlines. A connection never leaves
//! its worker. Tasks only wait; everything that is decided or moved happens here, between two waits.

mod answering;
mod door;
pub(crate) mod held;
mod leaving;
mod life;
mod reading;
mod time;
mod tls;

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bongsu_core::disconnect::Disconnect;
use bongsu_core::encoding::Encoder;
use bongsu_core::hub::{Announcement, Hub, HubEvent, HubLimits, SubscriberKey};
use bongsu_core::websocket::deflate::Inflater;
use bytes::{Bytes, BytesMut};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::task::spawn_local;

use crate::budget::Burden;
use crate::connection::{Connection, Phase};
use crate::deadlines::{Deadlines, Entry};
use crate::engine::{Engine, EngineHandle};
use crate::http::coding::Coder;
use crate::http2::Peers;
use crate::metrics::{CloseReason, TransportKind, WorkerMetrics};
use crate::pacing::Paused;
use crate::shared::Shared;
use crate::tally::Tallies;
use crate::transport::stomp::Consumers;
use crate::transport::udp::Udp;
use answering::Answers;
pub(crate) use door::Door;
use held::Held;
use leaving::Leaving;
pub(crate) use life::LINGER_MS;
use reading::Readable;
use time::Ticking;

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
    ticking: Ticking,
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
                ticking: Ticking::begun(shared.clock.now_ms()),
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
