//! Starts a server and stops it again. Used by `bongsu serve` and by tests.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use bongsu_core::encoding::Encoder;
use bongsu_core::format::Forms;
use socket2::SockRef;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tracing::{error, info, warn};

use crate::advice;
use crate::clock::Clock;
use crate::config::{Change, Config, Listener};
use crate::data_dir::{DataDir, DataDirFault};
use crate::deadlines::TICK_MS;
use crate::listeners::{self, Listeners};
use crate::metrics::Metrics;
use crate::shared::{Shared, directory_limits, engine_of, queue_bounds, rules_of};
use crate::tls::{self, Tls, TlsError, TlsNotice};
use crate::transport::udp::{self, UdpDoor};
use crate::worker::{Door, Worker, WorkerRef};

/// A running server.
pub struct Server {
    addresses: Addresses,
    stop: Arc<watch::Sender<bool>>,
    shared: watch::Sender<Arc<Shared>>,
    threads: Mutex<Vec<JoinHandle<io::Result<()>>>>,
    /// Where the snapshot goes; taken by whoever writes it.
    data: Mutex<Option<DataDir>>,
}

/// What a start is given beside its configuration.
#[derive(Debug, Default)]
pub struct Starting {
    /// Listening sockets that were handed over: they take the place of `listen.http` …
    pub http: Vec<TcpListener>,
    /// … of `listen.tcp` …
    pub tcp: Vec<TcpListener>,
    /// … and of `listen.stomp`.
    pub stomp: Vec<TcpListener>,
    /// Datagram sockets that were handed over, in place of `listen.udp`: no more than there are workers.
    pub udp: Vec<UdpSocket>,
    /// Set by whoever no longer wants the server, while it waits for another to leave the data directory.
    pub cancelled: Arc<AtomicBool>,
}

/// What came of a changed configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// What is in force from now on.
    pub changed: Vec<Change>,
    /// What a running server cannot change: it stays as it was.
    pub needs_restart: Vec<Change>,
}

/// Where a server listens, with the ports that the system picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addresses {
    /// HTTP and WebSocket.
    pub http: Option<SocketAddr>,
    /// The native protocol over TCP.
    pub tcp: Option<SocketAddr>,
    /// HTTP in the clear, which leads to TLS.
    pub redirect: Option<SocketAddr>,
    /// The native protocol over UDP.
    pub udp: Option<SocketAddr>,
    /// The numbers, where they have a listener of their own.
    pub admin: Option<SocketAddr>,
    /// STOMP over TCP.
    pub stomp: Option<SocketAddr>,
}

/// Why a server could not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeFault {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen for {listener} at {address}: {source}{}", advice::on_listening(source))]
    CannotListen {
        /// Which listener.
        listener: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Others than this machine could reach it, and nothing says that they may.
    #[error(
        "will not listen for {listener} at {address}: whoever reaches it could publish to and read every channel. Say --allow-anonymous \
         (access.allow_anonymous = true) if they may, or listen at an address of this machine alone, such as 127.0.0.1:{}",
        address.port()
    )]
    OpenToOthers {
        /// Which listener.
        listener: &'static str,
        /// The address asked for, or that of the socket that was handed over.
        address: SocketAddr,
    },
    /// A socket was handed over to which nobody could come.
    #[error("cannot use the socket that was handed over for {listener}: it {what}")]
    Deaf {
        /// What it is for.
        listener: &'static str,
        /// What is the matter with it, and what to do.
        what: &'static str,
    },
    /// More UDP sockets were handed over than there are workers to read from them.
    #[error(
        "{sockets} UDP sockets were handed over to {workers} workers, and each is read by one worker alone; say --workers {sockets}, or \
         hand over fewer"
    )]
    TooManyUdp {
        /// How many were handed over.
        sockets: usize,
        /// How many workers there are.
        workers: usize,
    },
    /// A UDP socket was handed over that others than this machine can reach, and nobody said that datagrams may go there unencrypted.
    #[error(
        "the UDP socket that was handed over is at {address}: over UDP nothing is encrypted, so that beyond this machine it must be \
         asked for: --udp-cleartext, or udp.cleartext = true; else hand over one at 127.0.0.1"
    )]
    UdpInTheClear {
        /// Where it is bound.
        address: SocketAddr,
    },
    /// The data directory cannot be used, or the snapshot could not be written into it.
    #[error(transparent)]
    DataDir(#[from] DataDirFault),
    /// TLS cannot be spoken as the configuration asks.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system refused something else that is needed.
    #[error("the server cannot go on: {}{}", .0, advice::on_anything(.0))]
    Io(#[from] io::Error),
    /// A worker ended by a fault of its own.
    #[error("a worker ended by a fault of its own; see the log")]
    WorkerFault,
}

impl Server {
    /// Starts all listeners and workers; when it returns, clients can connect.
    pub fn start(config: Config) -> Result<Self, ServeFault> {
        Self::start_with(config, Starting::default())
    }

    /// Like `start`, with sockets that were handed over.
    pub fn start_with(config: Config, starting: Starting) -> Result<Self, ServeFault> {
        let descriptors_max = crate::descriptors::make_room();
        let workers = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        // Who connects from here on waits until the workers run, perhaps for what another server still has to write down.
        let mut listeners = Vec::from_iter((0..workers).map(|_| Listeners::default()));
        let mut open = |door, listener, handed_over: &[TcpListener]| listen(&mut listeners, door, listener, handed_over, &config);
        let http = open(Door::Http, config.listen.http, &starting.http)?;
        let tcp = open(Door::Tcp, config.listen.tcp, &starting.tcp)?;
        let stomp = open(Door::Stomp, config.listen.stomp, &starting.stomp)?;
        let (udp, doors) = listen_udp(&config, workers, starting.udp)?;
        let redirect = open(Door::Redirect, config.listen.redirect, &[])?;
        let admin = open(Door::Admin, config.listen.admin, &[])?;
        let addresses = Addresses { http, tcp, udp, stomp, redirect, admin };
        // Before the data directory: a certificate that cannot be used must not cost the snapshot.
        let stop = Arc::new(watch::channel(false).0);
        let ips: Vec<_> = [addresses.http, addresses.tcp, addresses.stomp].into_iter().flatten().map(|address| address.ip()).collect();
        let tls = Tls::start(&config, &ips, &stop)?;
        if let Some(tls) = &tls {
            tls::watch(tls, Duration::from_millis(config.tls.reload_interval.as_millis()), stop.subscribe())?;
        }
        let data = open_data_dir(&config, &starting.cancelled)?;
        let clock = Clock::start();
        let build = |secret| engine_of(&config, secret, workers, clock);
        let engine = Arc::new(match &data {
            Some(data) => data.resume(build)?,
            None => build(rand::random()),
        });
        let metrics = Arc::new(Metrics::new(workers));
        let connections_max = config.http.connections_max;
        let shared = Arc::new(Shared::new(config, addresses, engine, metrics, workers, tls));
        let server = Self { addresses, stop, shared: watch::channel(shared).0, threads: Mutex::default(), data: Mutex::new(data) };
        if let Err(error) = server.start_workers(listeners, doors) {
            // What was taken up is put down again.
            server.shutdown();
            server.join()?;
            return Err(error.into());
        }
        crate::descriptors::tell_if_too_few(descriptors_max, connections_max, workers);
        Ok(server)
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What a person is told about its TLS; nothing if it speaks none.
    pub fn tls(&self) -> Option<TlsNotice> {
        let shared = self.shared.borrow();
        shared.tls.as_ref().map(|tls| tls.notice(&shared.config))
    }

    /// Goes on under another configuration, as far as a running server can.
    pub fn reload(&self, mut config: Config) -> Reloaded {
        let running = Arc::clone(&self.shared.borrow());
        let needs_restart = config.keep_what_needs_a_restart(&running.config);
        let changed = running.config.changes(&config);
        // Asked for by hand, the files are read even if they look as before.
        if let Some(tls) = &running.tls
            && let Err(error) = tls.reload(&config.tls)
        {
            error!("the certificates stay as they were: {error}");
        }
        if !changed.is_empty() {
            let total_bytes_max = config.history.total_bytes_max.as_usize();
            running.engine.reconfigure(directory_limits(&config), total_bytes_max, &rules_of(&config));
            running.engine.queues().reconfigure(&queue_bounds(&config));
            self.shared.send_replace(Arc::new(running.under(config)));
        }
        Reloaded { changed, needs_restart }
    }

    /// Begins the graceful end: no new connections, a goodbye to everyone. Returns at once.
    pub fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until the server has ended, and writes the snapshot, if there is a data directory.
    pub fn join(&self) -> Result<(), ServeFault> {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let ended = thread.join().map_err(|_| ServeFault::WorkerFault).and_then(|ended| Ok(ended?));
            // What a server with a fault of its own has in memory is not passed on: the next one says gap instead.
            ended.inspect_err(|_| error!("no snapshot is written"))?;
        }
        self.save()
    }

    /// Ends without telling everyone goodbye: publishing is refused from now on, and the snapshot is written.
    pub fn abandon(&self) -> Result<(), ServeFault> {
        self.shutdown();
        self.save()
    }

    /// The workers may still run: what got its position before the engine closed is in the snapshot, and nothing gets one after.
    fn save(&self) -> Result<(), ServeFault> {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(data) = data.take() else { return Ok(()) };
        let engine = Arc::clone(&self.shared.borrow().engine);
        engine.close();
        Ok(data.save(&engine)?)
    }

    fn start_workers(&self, listeners: Vec<Listeners>, doors: Vec<UdpDoor>) -> io::Result<()> {
        let encoder = Encoder::with_deflate(Forms::new(rand::random()), self.shared.borrow().deflate);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = self.shared.borrow().workers;
        let (mut listeners, mut doors) = (listeners.into_iter(), doors.into_iter());
        for index in 0..workers {
            let told = Told { stop: self.stop.subscribe(), shared: self.shared.subscribe() };
            let (encoder, listeners, door) = (encoder.clone(), listeners.next().unwrap_or_default(), doors.next());
            // Made here, so that a start that lacks descriptors for it fails as a whole.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let together = EndsTogether(Arc::downgrade(&self.stop));
            let work = move || {
                let _together = together;
                run(&runtime, index, encoder, listeners, door, told)
            };
            threads.push(std::thread::Builder::new().name(format!("worker-{index}")).spawn(work)?);
        }
        Ok(())
    }
}

/// Ends the server with the first worker that ends: with one missing, a part of all clients would find nobody. It does not keep the
/// server from being dropped.
struct EndsTogether(Weak<watch::Sender<bool>>);

impl Drop for EndsTogether {
    fn drop(&mut self) {
        if let Some(stop) = self.0.upgrade() {
            stop.send_replace(true);
        }
    }
}

/// How a worker is told of what concerns all of them.
struct Told {
    stop: watch::Receiver<bool>,
    shared: watch::Receiver<Arc<Shared>>,
}

/// Gives every worker its listeners of one kind, handed over or bound here. Tells where they listen.
fn listen(
    workers: &mut [Listeners],
    door: Door,
    listener: Listener,
    handed_over: &[TcpListener],
    config: &Config,
) -> Result<Option<SocketAddr>, ServeFault> {
    if let Some(first) = handed_over.first() {
        let address = first.local_addr()?;
        for socket in handed_over {
            if !SockRef::from(socket).is_listener()? {
                let what = "does not listen; call listen() before it is handed over, and hand over no connection (Accept=no)";
                return Err(ServeFault::Deaf { listener: door.name(), what });
            }
            check_reach(door.name(), socket.local_addr()?, config)?;
        }
        info!(listener = door.name(), %address, sockets = handed_over.len(), "sockets were handed over");
        listeners::adopt(workers, door, handed_over)?;
        return Ok(Some(address));
    }
    let Some(address) = listener.address() else { return Ok(None) };
    check_reach(door.name(), address, config)?;
    match listeners::bind(workers, door, address, config.listen.overlap) {
        Ok(address) => Ok(Some(address)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && matches!(listener, Listener::IfFree(_)) => {
            warn!(listener = door.name(), %address, "another program holds the address; going on without this listener");
            Ok(None)
        }
        Err(source) => Err(ServeFault::CannotListen { listener: door.name(), address, source }),
    }
}

/// A socket for each worker that receives datagrams, handed over or bound here. Tells where.
fn listen_udp(config: &Config, workers: usize, handed_over: Vec<UdpSocket>) -> Result<(Option<SocketAddr>, Vec<UdpDoor>), ServeFault> {
    if !handed_over.is_empty() {
        return adopt_udp(config, workers, handed_over);
    }
    let Some(address) = config.listen.udp.address() else { return Ok((None, Vec::new())) };
    check_reach("udp", address, config)?;
    match udp::bind(address, workers, config.udp.receive_buffer_bytes.as_usize(), config.listen.overlap) {
        Ok((address, doors)) => Ok((Some(address), doors)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && matches!(config.listen.udp, Listener::IfFree(_)) => {
            warn!(listener = "udp", %address, "another program holds the address; going on without this listener");
            Ok((None, Vec::new()))
        }
        Err(source) => Err(ServeFault::CannotListen { listener: "udp", address, source }),
    }
}

/// The first of the sockets is the address that is told.
fn adopt_udp(config: &Config, workers: usize, handed_over: Vec<UdpSocket>) -> Result<(Option<SocketAddr>, Vec<UdpDoor>), ServeFault> {
    let sockets = handed_over.len();
    if sockets > workers {
        return Err(ServeFault::TooManyUdp { sockets, workers });
    }
    for socket in &handed_over {
        let address = socket.local_addr()?;
        if address.port() == 0 {
            return Err(ServeFault::Deaf { listener: "udp", what: "is not bound to a port; bind it before it is handed over" });
        }
        if socket.peer_addr().is_ok() {
            return Err(ServeFault::Deaf { listener: "udp", what: "is connected to one peer and hears no other; bind it, and no more" });
        }
        check_reach("udp", address, config)?;
        if !config.udp.cleartext && !address.ip().to_canonical().is_loopback() {
            return Err(ServeFault::UdpInTheClear { address });
        }
    }
    let address = handed_over.first().map(UdpSocket::local_addr).transpose()?;
    info!(listener = "udp", address = address.map(tracing::field::display), sockets, workers, "sockets were handed over, each to a worker");
    Ok((address, udp::adopt(handed_over, config.udp.receive_buffer_bytes.as_usize())?))
}

/// Closed by default: without a word of the operator's, nobody but this machine can reach a server that asks nobody who they are.
fn check_reach(listener: &'static str, address: SocketAddr, config: &Config) -> Result<(), ServeFault> {
    if config.access.allow_anonymous || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(ServeFault::OpenToOthers { listener, address })
}

fn open_data_dir(config: &Config, cancelled: &AtomicBool) -> Result<Option<DataDir>, DataDirFault> {
    if config.data_dir.is_empty() {
        return Ok(None);
    }
    let leaving_max = Duration::from_millis(config.shutdown.timeout.as_millis()) + SNAPSHOT_TIME_MAX;
    let patience = if config.listen.overlap { leaving_max } else { Duration::ZERO };
    DataDir::open(Path::new(&config.data_dir), patience, cancelled).map(Some)
}

/// A worker's thread, from start to end.
fn run(runtime: &Runtime, index: usize, encoder: Encoder, listeners: Listeners, door: Option<UdpDoor>, told: Told) -> io::Result<()> {
    LocalSet::new().block_on(runtime, async {
        let shared = Arc::clone(&told.shared.borrow());
        let worker = Worker::start(shared, index, encoder);
        // It reads from as many as there are, and lets others run by itself.
        tokio::task::spawn_local(tokio::task::coop::unconstrained(Worker::read_all(WorkerRef::clone(&worker))));
        tokio::task::spawn_local(Worker::deliver(WorkerRef::clone(&worker)));
        tokio::task::spawn_local(Worker::deliver_queued(WorkerRef::clone(&worker)));
        if let Some(door) = door {
            udp::receive(door, &worker)?;
        }
        work(&worker, listeners, told).await
    })
}

async fn work(worker: &WorkerRef, listeners: Listeners, mut told: Told) -> io::Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut accepting = Some(listeners.accept(worker)?);
    loop {
        tokio::select! {
            _ = ticks.tick() => worker.borrow_mut().tick(),
            Ok(()) = told.shared.changed() => {
                let shared = Arc::clone(&told.shared.borrow_and_update());
                worker.borrow_mut().go_on_under(shared);
            }
            // An error means that the server was dropped, and with it whoever could stop it.
            _ = told.stop.changed(), if accepting.is_some() => {
                if let Some(accepting) = accepting.take() {
                    accepting.end(worker).await;
                }
                worker.borrow_mut().leave();
            }
        }
        if accepting.is_none() && worker.borrow().is_alone() {
            return Ok(());
        }
    }
}

/// How long another server may take to write its snapshot, once it has no clients.
const SNAPSHOT_TIME_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_ends_ends_the_server() {
        let stop = Arc::new(watch::channel(false).0);
        let together = EndsTogether(Arc::downgrade(&stop));
        let worker = std::thread::spawn(move || {
            let _together = together;
            panic!("a fault of its own");
        });
        assert!(worker.join().is_err() && *stop.borrow());
    }
}
