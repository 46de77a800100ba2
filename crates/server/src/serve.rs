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
use crate::worker::{Worker, WorkerRef};

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
        let listeners = match config.listen.http {
            Listener::Off => Vec::new(),
            Listener::At(address) => {
                listen(address, workers).map_err(|source| ServeFault::CannotListen { listener: "http", address, source })?
            }
        };
        let http = listeners.first().map(TcpListener::local_addr).transpose()?;
        let shared = Arc::new(Shared::new(config, http, workers));
        let encoder = Encoder::with_deflate(Forms::new(rand::random()), shared.deflate);
        let (stop, _) = watch::channel(false);
        let mut listeners = listeners.into_iter();
        let start = |index| {
            let (shared, encoder, listener, stop) = (Arc::clone(&shared), encoder.clone(), listeners.next(), stop.subscribe());
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || run(shared, index, encoder, listener, stop))
        };
        let threads = (0..workers).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { addresses: Addresses { http }, stop, threads: Mutex::new(threads) })
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
fn run(shared: Arc<Shared>, index: usize, encoder: Encoder, listener: Option<TcpListener>, stop: watch::Receiver<bool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let worker = Worker::start(shared, index, encoder);
        let listener = listener.map(tokio::net::TcpListener::from_std).transpose()?;
        tokio::task::spawn_local(Worker::deliver(WorkerRef::clone(&worker)));
        work(&worker, listener, stop).await;
        Ok(())
    })
}

async fn work(worker: &WorkerRef, listener: Option<tokio::net::TcpListener>, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let accepting = listener.map(|listener| tokio::task::spawn_local(accept(WorkerRef::clone(worker), listener)));
    let mut leaving = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => worker.borrow_mut().tick(),
            // An error means that the server was dropped, and with it whoever could stop it.
            _ = stop.changed(), if !leaving => {
                leaving = true;
                if let Some(accepting) = &accepting {
                    accepting.abort();
                }
                worker.borrow_mut().leave();
            }
        }
        if leaving && worker.borrow().is_alone() {
            return;
        }
    }
}

async fn accept(worker: WorkerRef, listener: tokio::net::TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => worker.borrow_mut().accept(stream),
            Err(error) => {
                // Out of descriptors or memory: those that wait stay in the backlog until some are free.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

const BACKLOG: i32 = 4096;
