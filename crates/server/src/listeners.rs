//! Listening sockets: bound here, or handed over by whoever started us; and how they are let go without refusing anyone.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::advice::on_anything;
use crate::arrival::arrive;
use crate::worker::{Door, WorkerRef};

/// The sockets that one worker accepts from.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Vec<ListeningSocket>);

/// A socket, and what is spoken there.
#[derive(Debug)]
struct ListeningSocket {
    door: Door,
    socket: TcpListener,
    /// Whether somebody else keeps it open when we are gone: who waits there is left for whoever comes next.
    handed_over: bool,
}

/// The same, while the worker accepts.
pub(crate) struct Accepting(Vec<AcceptingSocket>);

struct AcceptingSocket {
    door: Door,
    socket: Rc<tokio::net::TcpListener>,
    task: JoinHandle<()>,
    handed_over: bool,
}

/// Gives each worker a socket of its own at one address: the kernel spreads connections over them. With `overlap`, another server
/// of the same user may listen there at the same time. Tells the address, with the port that was picked.
pub(crate) fn bind(workers: &mut [Listeners], door: Door, address: SocketAddr, overlap: bool) -> io::Result<SocketAddr> {
    let address = if overlap && address.port() != 0 { address } else { probe(address)? };
    for Listeners(sockets) in workers {
        let socket = socket(address, true)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        sockets.push(ListeningSocket { door, socket: socket.into(), handed_over: false });
    }
    Ok(address)
}

/// Gives each worker all the sockets that were handed over.
pub(crate) fn adopt(workers: &mut [Listeners], door: Door, handed_over: &[TcpListener]) -> io::Result<()> {
    for socket in handed_over {
        socket.set_nonblocking(true)?;
        for Listeners(sockets) in &mut *workers {
            sockets.push(ListeningSocket { door, socket: socket.try_clone()?, handed_over: true });
        }
    }
    Ok(())
}

impl Listeners {
    /// Begins to accept, on the worker's thread.
    pub(crate) fn accept(self, worker: &WorkerRef) -> io::Result<Accepting> {
        let start = |ListeningSocket { door, socket, handed_over }| {
            let socket = Rc::new(tokio::net::TcpListener::from_std(socket)?);
            let task = tokio::task::spawn_local(accept(WorkerRef::clone(worker), Rc::clone(&socket), door));
            Ok(AcceptingSocket { door, socket, task, handed_over })
        };
        self.0.into_iter().map(start).collect::<io::Result<_>>().map(Accepting)
    }
}

impl Accepting {
    /// Accepts no more. Who was connected already is taken up first: closing a socket would reset them.
    pub(crate) async fn end(self, worker: &WorkerRef) {
        for AcceptingSocket { door, socket, task, handed_over } in self.0 {
            task.abort();
            // Its end is what is waited for, however it came.
            _ = task.await;
            if !handed_over {
                accept_all(&socket, worker, door);
            }
        }
    }
}

fn accept_all(socket: &tokio::net::TcpListener, worker: &WorkerRef, door: Door) {
    while let Ok((stream, peer)) = SockRef::from(socket).accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = tokio::net::TcpStream::from_std(stream.into())
        {
            arrive(worker, stream, peer.as_socket(), door);
        }
    }
}

async fn accept(worker: WorkerRef, listener: Rc<tokio::net::TcpListener>, door: Door) {
    let mut told = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                told = false;
                arrive(&worker, stream, Some(peer), door);
            }
            Err(error) => {
                // Out of descriptors or memory: those that wait stay in the backlog until some are free. It is said once.
                if !std::mem::replace(&mut told, true) {
                    warn!(%error, "cannot accept connections, so they wait{}", on_anything(&error));
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// With SO_REUSEPORT a second server would silently share the port: a first bind goes without, to be told. It also picks the port.
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    Ok(socket(address, false)?.local_addr()?.as_socket().unwrap_or(address))
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

const BACKLOG: i32 = 4096;
