//! Listening sockets: bound here, or handed over by whoever started us; and how they are let go without refusing anyone.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::worker::{Worker, WorkerRef};

/// The sockets that one worker accepts from.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    sockets: Vec<TcpListener>,
    /// Whether somebody else keeps them open when we are gone: who waits there is left for whoever comes next.
    handed_over: bool,
}

/// The same, while the worker accepts.
pub(crate) struct Accepting {
    sockets: Vec<(Rc<tokio::net::TcpListener>, JoinHandle<()>)>,
    handed_over: bool,
}

impl Listeners {
    /// Sockets of our own at one address, one for each worker: the kernel spreads connections over them. With `overlap`, another
    /// server of the same user may listen there at the same time.
    pub(crate) fn bind(address: SocketAddr, workers: usize, overlap: bool) -> io::Result<Vec<Self>> {
        let address = if overlap && address.port() != 0 { address } else { probe(address)? };
        (0..workers)
            .map(|_| {
                let socket = socket(address, true)?;
                socket.listen(BACKLOG)?;
                socket.set_nonblocking(true)?;
                Ok(Self { sockets: vec![socket.into()], handed_over: false })
            })
            .collect()
    }

    /// Sockets that were handed over: every worker accepts from each of them.
    pub(crate) fn adopt(sockets: &[TcpListener], workers: usize) -> io::Result<Vec<Self>> {
        sockets.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
        let all = || sockets.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>();
        (0..workers).map(|_| Ok(Self { sockets: all()?, handed_over: true })).collect()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<Option<SocketAddr>> {
        self.sockets.first().map(TcpListener::local_addr).transpose()
    }

    /// Begins to accept, on the worker's thread.
    pub(crate) fn accept(self, worker: &WorkerRef) -> io::Result<Accepting> {
        let start = |socket| {
            let socket = Rc::new(tokio::net::TcpListener::from_std(socket)?);
            let task = tokio::task::spawn_local(accept(WorkerRef::clone(worker), Rc::clone(&socket)));
            Ok((socket, task))
        };
        let sockets = self.sockets.into_iter().map(start).collect::<io::Result<_>>()?;
        Ok(Accepting { sockets, handed_over: self.handed_over })
    }
}

impl Accepting {
    /// Accepts no more. Who was connected already is taken up first: closing a socket would reset them.
    pub(crate) async fn end(self, worker: &WorkerRef) {
        for (socket, task) in self.sockets {
            task.abort();
            // Its end is what is waited for, however it came.
            _ = task.await;
            if !self.handed_over {
                accept_all(&socket, &mut worker.borrow_mut());
            }
        }
    }
}

fn accept_all(socket: &tokio::net::TcpListener, worker: &mut Worker) {
    while let Ok((stream, _)) = SockRef::from(socket).accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = tokio::net::TcpStream::from_std(stream.into())
        {
            worker.accept(stream);
        }
    }
}

async fn accept(worker: WorkerRef, listener: Rc<tokio::net::TcpListener>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => worker.borrow_mut().accept(stream),
            Err(error) => {
                // Out of descriptors or memory: those that wait stay in the backlog until some are free.
                warn!(%error, "cannot accept a connection");
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
