//! What the server counts, and `/metrics` in OpenMetrics text. Workers count; the scrape sums.
//!
//! Each worker writes cells of its own, so that counting on the hot path is a load, an addition and a store, without a locked
//! instruction and without a cache line that two cores write.

mod balance;
mod export;
mod labels;
mod queues;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bongsu_core::GapReason;
use bongsu_core::queue::{Depth, QueueCounts};
use prometheus_client::registry::Registry;

pub use balance::{Balance, Balances};
pub use labels::{CloseReason, Route, StatusClass, TlsHandshake, TransportKind};

use labels::Label;

/// Everything that one server counts.
#[derive(Debug)]
pub struct Metrics {
    cells: Arc<Cells>,
    registry: Registry,
}

/// The counters of one worker, for use on the worker's own thread: take it there, once, with `Metrics::worker`.
///
/// It stays on its thread (it is not `Send`), because a cell may have a single writer only.
#[derive(Debug, Clone)]
pub struct WorkerMetrics {
    cells: Arc<Cells>,
    index: usize,
    on_this_thread: PhantomData<*const ()>,
}

/// A number that goes up and down and that any thread may change.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

/// All cells of a server.
#[derive(Debug)]
struct Cells {
    workers: Box<[WorkerCells]>,
    history_bytes: Gauge,
    channels: Gauge,
    queues: Mutex<(Depth, QueueCounts)>,
}

/// The cells of one worker, apart from those of the others by more than a cache line and the one that is prefetched with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct WorkerCells {
    opened: PerLabel<{ TransportKind::COUNT }>,
    ended: PerLabel<{ TransportKind::COUNT }>,
    deliveries: PerLabel<{ TransportKind::COUNT }>,
    delivery_bytes: PerLabel<{ TransportKind::COUNT }>,
    publications: PerLabel<{ TransportKind::COUNT }>,
    paused: PerLabel<{ TransportKind::COUNT }>,
    held_publishers: Cell,
    nacks: Cell,
    compressed_messages: Cell,
    compressed_bytes_before: Cell,
    compressed_bytes_after: Cell,
    tls_handshakes: PerLabel<{ TlsHandshake::COUNT }>,
    closes: PerLabel<{ CloseReason::COUNT }>,
    gaps: PerLabel<{ <GapReason as Label>::COUNT }>,
    requests: [PerLabel<{ StatusClass::COUNT }>; Route::COUNT],
    tape_bytes: Cell,
    outbox_bytes: Cell,
    in_flight_bytes: Cell,
    subscriptions: Cell,
    reading_paused: PerLabel<{ TransportKind::COUNT }>,
    reading_resumed: PerLabel<{ TransportKind::COUNT }>,
    // Replaced as a whole a few times a second, so that its numbers add up whenever they are read.
    balances: Mutex<Balances>,
    // Faults are rare and their names many; the lock is this worker's own, but for the moment of a scrape.
    faults: Mutex<BTreeMap<&'static str, u64>>,
}

/// A number that one thread writes and any thread reads. Numbers that fall as well as rise wrap, which their sum undoes.
#[derive(Debug, Default)]
struct Cell(AtomicU64);

/// A cell for each value of a label.
#[derive(Debug)]
struct PerLabel<const COUNT: usize>([Cell; COUNT]);

impl Metrics {
    /// Counters for so many workers, all at 0.
    pub fn new(workers: usize) -> Self {
        let workers = (0..workers).map(|_| WorkerCells::default()).collect();
        let cells = Arc::new(Cells { workers, history_bytes: Gauge::default(), channels: Gauge::default(), queues: Mutex::default() });
        let mut registry = Registry::with_prefix("bongsu");
        registry.register_collector(Box::new(Arc::clone(&cells)));
        Self { cells, registry }
    }

    /// The counters of worker `index`, to be taken on that worker's thread.
    pub fn worker(&self, index: usize) -> WorkerMetrics {
        assert!(index < self.cells.workers.len(), "worker {index} of {}", self.cells.workers.len());
        WorkerMetrics { cells: Arc::clone(&self.cells), index, on_this_thread: PhantomData }
    }

    /// Bytes retained by the history of all channels.
    pub fn history_bytes(&self) -> &Gauge {
        &self.cells.history_bytes
    }

    /// Channels that exist.
    pub fn channels(&self) -> &Gauge {
        &self.cells.channels
    }

    /// What queues hold, and what happened in them so far.
    pub fn set_queues(&self, depth: Depth, counts: QueueCounts) {
        *self.cells.queues.lock().unwrap_or_else(PoisonError::into_inner) = (depth, counts);
    }

    /// Connections held now, by all workers together.
    pub fn connections(&self) -> u64 {
        TransportKind::ALL.iter().map(|&kind| self.cells.connections(kind)).sum()
    }

    /// Bytes of memory that all connections hold now for what is under way.
    pub fn in_flight(&self) -> u64 {
        self.cells.sum(|worker| worker.in_flight_bytes.get())
    }

    /// All of it as OpenMetrics text, to be served as `CONTENT_TYPE`.
    pub fn render(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}

impl WorkerMetrics {
    /// A connection was accepted, or a request began to wait or stream, as this transport.
    pub fn opened(&self, transport: TransportKind) {
        self.cells().opened.add(transport, 1);
    }

    /// A connection became another transport: an HTTP connection a WebSocket, say. It counts as opened there.
    pub fn became(&self, from: TransportKind, to: TransportKind) {
        self.cells().ended.add(from, 1);
        self.cells().opened.add(to, 1);
    }

    /// A connection of this transport has ended.
    pub fn closed(&self, transport: TransportKind, reason: CloseReason) {
        self.cells().ended.add(transport, 1);
        self.cells().closes.add(reason, 1);
    }

    /// So many publications were handed to the kernel for those who asked for them: beside the balances, which count subscribers.
    #[inline]
    pub fn deliveries(&self, transport: TransportKind, count: u64) {
        self.cells().deliveries.add(transport, count);
    }

    /// So many bytes were handed to the kernel for subscribers, frames included.
    #[inline]
    pub fn delivery_bytes(&self, transport: TransportKind, bytes: u64) {
        self.cells().delivery_bytes.add(transport, bytes);
    }

    /// So many publications were accepted from publishers.
    #[inline]
    pub fn publications(&self, transport: TransportKind, count: u64) {
        self.cells().publications.add(transport, count);
    }

    /// A publisher has to wait for subscribers.
    pub fn publisher_paused(&self, transport: TransportKind) {
        self.cells().paused.add(transport, 1);
    }

    /// So many publishers have begun to wait for subscribers, or ceased to.
    pub fn held_publishers_changed(&self, by: i64) {
        self.cells().held_publishers.change(by);
    }

    /// What was offered to subscribers so far, and where it went.
    pub fn balances(&self, balances: Balances) {
        *self.cells().balances.lock().unwrap_or_else(PoisonError::into_inner) = balances;
    }

    /// So many messages were refused by those who got them (NACK).
    pub fn nacks(&self, count: u64) {
        self.cells().nacks.add(count);
    }

    /// So many messages were compressed, each once for all who get it, from so many bytes to so many.
    pub fn compressed(&self, messages: u64, bytes_before: u64, bytes_after: u64) {
        self.cells().compressed_messages.add(messages);
        self.cells().compressed_bytes_before.add(bytes_before);
        self.cells().compressed_bytes_after.add(bytes_after);
    }

    /// A TLS handshake has ended.
    pub fn tls_handshake(&self, how: TlsHandshake) {
        self.cells().tls_handshakes.add(how, 1);
    }

    /// A subscriber was told a gap.
    pub fn gap(&self, reason: GapReason) {
        self.cells().gaps.add(reason, 1);
    }

    /// A request was answered with this status.
    #[inline]
    pub fn request(&self, route: Route, status: u16) {
        self.cells().requests[route.index()].add(StatusClass::of(status), 1);
    }

    /// A peer did something wrong. The name is the fault's, in kebab case: `frame-too-large`.
    pub fn fault(&self, name: &'static str) {
        *self.cells().faults.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
    }

    /// The tapes of this worker have grown by so many bytes, or shrunk.
    pub fn tape_bytes_changed(&self, by: i64) {
        self.cells().tape_bytes.change(by);
    }

    /// The outboxes of this worker have grown by so many bytes, or shrunk.
    pub fn outbox_bytes_changed(&self, by: i64) {
        self.cells().outbox_bytes.change(by);
    }

    /// So many bytes of memory are held by this worker's connections for what is under way.
    pub fn in_flight_bytes(&self, bytes: usize) {
        self.cells().in_flight_bytes.0.store(bytes as u64, Relaxed);
    }

    /// So many subscriptions have begun on this worker, or ended.
    pub fn subscriptions_changed(&self, by: i64) {
        self.cells().subscriptions.change(by);
    }

    /// A connection is not read from for now: its client does not take the answers to what it sends, or sends more than can be taken.
    pub fn reading_paused(&self, transport: TransportKind) {
        self.cells().reading_paused.add(transport, 1);
    }

    /// A connection whose reading was paused is read from again, or has ended.
    pub fn reading_resumed(&self, transport: TransportKind) {
        self.cells().reading_resumed.add(transport, 1);
    }

    #[inline]
    fn cells(&self) -> &WorkerCells {
        &self.cells.workers[self.index]
    }
}

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Adds to it, or takes away.
    pub fn change(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

impl Cell {
    #[inline]
    fn add(&self, count: u64) {
        // Not fetch_add: nobody else writes here, so the locked instruction would buy nothing.
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    fn change(&self, by: i64) {
        self.add(by.cast_unsigned());
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl<const COUNT: usize> PerLabel<COUNT> {
    #[inline]
    fn add(&self, label: impl Label, count: u64) {
        self.0[label.index()].add(count);
    }

    fn get(&self, label: impl Label) -> u64 {
        self.0[label.index()].get()
    }
}

impl<const COUNT: usize> Default for PerLabel<COUNT> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Cell::default()))
    }
}

impl Cells {
    /// One number of all workers, summed.
    fn sum(&self, of_worker: impl Fn(&WorkerCells) -> u64) -> u64 {
        self.workers.iter().fold(0, |sum, worker| sum.wrapping_add(of_worker(worker)))
    }

    fn connections(&self, transport: TransportKind) -> u64 {
        // What ended is read first, and 0 is the least, since both go on changing while they are read.
        let ended = self.sum(|worker| worker.ended.get(transport));
        self.sum(|worker| worker.opened.get(transport)).saturating_sub(ended)
    }

    fn reading_paused(&self, transport: TransportKind) -> u64 {
        let resumed = self.sum(|worker| worker.reading_resumed.get(transport));
        self.sum(|worker| worker.reading_paused.get(transport)).saturating_sub(resumed)
    }
}

/// The media type of `Metrics::render`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests;
