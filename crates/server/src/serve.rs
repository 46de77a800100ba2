//! Starts a server and stops it again. Used by `bongsu serve` and by tests.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bongsu_core::encoding::Encoder;
use bongsu_core::format::Forms;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tracing::warn;

use crate::config::{Config, Listener};
use crate::deadlines::TICK_MS;
use crate::shared::Shared;
use crate::worker::{Door, Worker, WorkerRef};

/// A running server.
pub struct Server {
    addresses: Addresses,
    stop: watch::Sender<bool>,
    threads: Mutex<Vec<JoinHandle<io::Result<()>>>>,
}

/// Where a server listens, with the ports that the system picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addresses {
    /// HTTP and WebSocket.
    pub http: Option<SocketAddr>,
    /// The native protocol over TCP.
    pub tcp: Option<SocketAddr>,
}

/// Why a server could not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeFault {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen for {listener} at {address}: {source}")]
    CannotListen {
        /// Which listener.
        listener: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused something else that is needed.
    #[error("the server cannot go on: {0}")]
    Io(#[from] io::Error),
    /// A worker ended by a fault of its own.
    #[error("a worker ended by a fault of its own; see the log")]
    WorkerFault,
}

impl Server {
    /// Starts all listeners and workers; when it returns, clients can connect.
    pub fn start(config: Config) -> Result<Self, ServeFault> {
        crate::descriptors::make_room();
        let workers = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let http_listeners = open("http", config.listen.http, workers)?;
        let tcp_listeners = open("tcp", config.listen.tcp, workers)?;
        let address = |listeners: &[TcpListener]| listeners.first().map(TcpListener::local_addr).transpose();
        let addresses = Addresses { http: address(&http_listeners)?, tcp: address(&tcp_listeners)? };
        let shared = Arc::new(Shared::new(config, addresses.http, workers));
        let encoder = Encoder::with_deflate(Forms::new(rand::random()), shared.deflate);
        let (stop, _) = watch::channel(false);
        let (mut http_listeners, mut tcp_listeners) = (http_listeners.into_iter(), tcp_listeners.into_iter());
        let start = |index| {
            let doors = [(Door::Http, http_listeners.next()), (Door::Tcp, tcp_listeners.next())];
            let (shared, encoder, stop) = (Arc::clone(&shared), encoder.clone(), stop.subscribe());
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || run(shared, index, encoder, doors, stop))
        };
        let threads = (0..workers).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { addresses, stop, threads: Mutex::new(threads) })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Begins the graceful end: no new connections, a goodbye to everyone. Returns at once.
    pub fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until the server has ended.
    pub fn join(&self) -> Result<(), ServeFault> {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            thread.join().map_err(|_| ServeFault::WorkerFault)??;
        }
        Ok(())
    }
}

/// The listeners of one kind, a listener a worker.
fn open(name: &'static str, listener: Listener, workers: usize) -> Result<Vec<TcpListener>, ServeFault> {
    let Some(address) = listener.address() else { return Ok(Vec::new()) };
    match listen(address, workers) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && matches!(listener, Listener::IfFree(_)) => {
            warn!(listener = name, %address, "another program holds the address; going on without this listener");
            Ok(Vec::new())
        }
        Err(source) => Err(ServeFault::CannotListen { listener: name, address, source }),
        Ok(listeners) => Ok(listeners),
    }
}

/// A listener for each worker at one address: the kernel spreads connections over them.
fn listen(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // With SO_REUSEPORT a second server would silently share the port: the first bind goes without, to be told.
    let probe = socket(address, false)?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    (0..workers)
        .map(|_| {
            let socket = socket(address, true)?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
        .collect()
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A worker's thread, from start to end.
fn run(
    shared: Arc<Shared>,
    index: usize,
    encoder: Encoder,
    doors: [(Door, Option<TcpListener>); 2],
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let worker = Worker::start(shared, index, encoder);
        let mut accepting = Vec::new();
        for (door, listener) in doors {
            if let Some(listener) = listener {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                accepting.push(tokio::task::spawn_local(accept(WorkerRef::clone(&worker), listener, door)));
            }
        }
        tokio::task::spawn_local(Worker::deliver(WorkerRef::clone(&worker)));
        work(&worker, accepting, stop).await;
        Ok(())
    })
}

async fn work(worker: &WorkerRef, accepting: Vec<tokio::task::JoinHandle<()>>, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut leaving = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => worker.borrow_mut().tick(),
            // An error means that the server was dropped, and with it whoever could stop it.
            _ = stop.changed(), if !leaving => {
                leaving = true;
                accepting.iter().for_each(tokio::task::JoinHandle::abort);
                worker.borrow_mut().leave();
            }
        }
        if leaving && worker.borrow().is_alone() {
            return;
        }
    }
}

async fn accept(worker: WorkerRef, listener: tokio::net::TcpListener, door: Door) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => worker.borrow_mut().accept(stream, door),
            Err(error) => {
                // Out of descriptors or memory: those that wait stay in the backlog until some are free.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

const BACKLOG: i32 = 4096;
