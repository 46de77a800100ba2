//! Connects the driver's sockets, also more of them than one address has ports for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

/// Connects connection number `index` without waiting.
///
/// To a server on loopback, every few thousand connections come from an address of their own (127.0.0.2, 127.0.0.3 …): past half
/// of an address's ports, Linux looks for a free one port by port, and opening becomes slow for reasons that are not the server's.
///
/// A receive buffer is set before it connects: a window that shrinks later leaves the other end waiting for its probes, seconds long, also
/// once there is room again.
pub(super) fn dial(address: SocketAddr, index: usize, receive_bytes: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    let share = u8::try_from(index / CONNECTIONS_PER_ADDRESS).unwrap_or(u8::MAX);
    if share > 0 && address.is_ipv4() && address.ip().is_loopback() {
        let from = Ipv4Addr::new(127, 0, 0, share.saturating_add(1));
        socket.bind(&SocketAddr::from((from, 0)).into())?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => (),
    }
    Ok(TcpStream::from_std(socket.into()))
}

const CONNECTIONS_PER_ADDRESS: usize = 8000;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn many_connections_come_from_several_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        for (index, from) in [(0, "127.0.0.1"), (7999, "127.0.0.1"), (8000, "127.0.0.2"), (19_000, "127.0.0.3")] {
            let _stream = dial(address, index, None).expect("connecting");
            let (_, peer) = listener.accept().expect("a connection");
            assert_eq!(peer.ip().to_string(), from);
        }
    }
}
