//! Sockets: one for each worker at one address, over which the kernel spreads clients by their addresses, so that the datagrams of one
//! come to one worker; those that were handed over, each likewise read by one worker alone; and the task that receives.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tracing::warn;

use crate::worker::WorkerRef;

/// What one worker receives from.
#[derive(Debug)]
pub(crate) struct UdpDoor {
    socket: std::net::UdpSocket,
    /// What all cookies of this server are made with.
    secret: [u8; 32],
}

/// Binds a socket for each worker. With `overlap`, another server of the same user may be there at the same time.
pub(crate) fn bind(
    address: SocketAddr,
    workers: usize,
    receive_buffer_bytes: usize,
    overlap: bool,
) -> io::Result<(SocketAddr, Vec<UdpDoor>)> {
    // With SO_REUSEPORT a second server would silently share the port: a first bind goes without, to be told. It also picks the port.
    let address = match overlap && address.port() != 0 {
        true => address,
        false => socket(address, false)?.local_addr()?.as_socket().unwrap_or(address),
    };
    let secret = rand::random();
    let door = |_| {
        let socket = socket(address, true)?;
        socket.set_nonblocking(true)?;
        if receive_buffer_bytes > 0 {
            // An improvement, not a condition.
            _ = socket.set_recv_buffer_size(receive_buffer_bytes);
        }
        Ok(UdpDoor { socket: socket.into(), secret })
    };
    Ok((address, (0..workers).map(door).collect::<io::Result<_>>()?))
}

/// Gives each socket that was handed over to one worker alone, so that a client's datagrams come to the worker that knows it: a socket
/// that several read from would give them to whoever is awake. Workers that are left over receive none.
pub(crate) fn adopt(sockets: Vec<std::net::UdpSocket>, receive_buffer_bytes: usize) -> io::Result<Vec<UdpDoor>> {
    let secret = rand::random();
    let door = |socket: std::net::UdpSocket| {
        socket.set_nonblocking(true)?;
        let options = SockRef::from(&socket);
        // Whoever made it may have given it more.
        if options.recv_buffer_size()? < receive_buffer_bytes {
            _ = options.set_recv_buffer_size(receive_buffer_bytes);
        }
        Ok(UdpDoor { socket, secret })
    };
    sockets.into_iter().map(door).collect()
}

/// Receives for as long as the thread lives: whoever comes while the server takes its leave is told.
pub(crate) fn receive(door: UdpDoor, worker: &WorkerRef) -> io::Result<()> {
    let socket = Rc::new(UdpSocket::from_std(door.socket)?);
    worker.borrow_mut().open_udp(Rc::clone(&socket), door.secret);
    tokio::task::spawn_local(receive_all(socket, WorkerRef::clone(worker)));
    Ok(())
}

async fn receive_all(socket: Rc<UdpSocket>, worker: WorkerRef) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        if let Err(error) = socket.readable().await {
            warn!(%error, "cannot receive datagrams");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        for _ in 0..DATAGRAMS_MAX {
            match socket.try_recv_from(&mut buffer) {
                Ok((len, from)) => worker.borrow_mut().on_datagram(&buffer[..len], from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What a port that is closed sent back to an earlier datagram; leases end by themselves.
                Err(_) => (),
            }
        }
        worker.borrow_mut().settle();
        tokio::task::yield_now().await;
    }
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// How many datagrams are received before others have their turn.
const DATAGRAMS_MAX: usize = 64;
/// The longest that IP carries.
const DATAGRAM_BYTES: usize = 65_536;
