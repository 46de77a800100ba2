//! What systemd, or anything that follows its protocols, gives a service and wants to be told. Without it nothing happens here.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{SocketAddr, UnixDatagram};

use bongsu_server::serve::Starting;
use listenfd::ListenFd;

use super::exit::{Exit, Failure};

/// The sockets that were handed over: `LISTEN_FDS` of them, meant for the process `LISTEN_PID`, from descriptor 3 on. Those that
/// `LISTEN_FDNAMES` calls `tcp` are for the native protocol, `udp` for its datagrams, `stomp` for STOMP, all others for HTTP.
pub(super) fn inherited_sockets() -> Result<Starting, Failure> {
    check_count()?;
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut handed_over = ListenFd::from_env();
    let mut starting = Starting::default();
    for index in 0..handed_over.len() {
        let name = names.next().unwrap_or_default();
        match (name, take(&mut handed_over, index)?) {
            ("tcp", Socket::Stream(socket)) => starting.tcp.push(socket),
            ("stomp", Socket::Stream(socket)) => starting.stomp.push(socket),
            ("udp", Socket::Datagrams(socket)) => starting.udp.push(socket),
            ("udp", Socket::Stream(_)) => return Err(wrong_kind(index, name, "a stream socket", "hand over a datagram socket", "tcp")),
            (_, Socket::Datagrams(_)) => return Err(wrong_kind(index, name, "a datagram socket", "hand over a stream socket", "udp")),
            (_, Socket::Stream(socket)) => starting.http.push(socket),
        }
    }
    Ok(starting)
}

/// A socket that was handed over.
enum Socket {
    Stream(TcpListener),
    Datagrams(UdpSocket),
}

fn take(handed_over: &mut ListenFd, index: usize) -> Result<Socket, Failure> {
    if let Ok(Some(socket)) = handed_over.take_tcp_listener(index) {
        return Ok(Socket::Stream(socket));
    }
    match handed_over.take_udp_socket(index) {
        Ok(Some(socket)) => Ok(Socket::Datagrams(socket)),
        _ => Err(Failure::new(
            Exit::CannotListen,
            format!(
                "LISTEN_FDS={}: descriptor {} is no stream or datagram socket of IP; hand over sockets from descriptor 3 on, and have \
                 LISTEN_FDS say how many",
                handed_over.len(),
                FIRST + index
            ),
        )),
    }
}

/// What says a number of sockets that nobody hands over is a mistake, and must not pass for none.
fn check_count() -> Result<(), Failure> {
    let is_meant_for_us = std::env::var("LISTEN_PID").map_or(true, |pid| pid.is_empty() || pid == std::process::id().to_string());
    match std::env::var("LISTEN_FDS") {
        Ok(count) if is_meant_for_us && !count.parse().is_ok_and(|count: usize| count <= SOCKETS_MAX) => Err(Failure::new(
            Exit::CannotListen,
            format!("LISTEN_FDS={count} is no number of sockets; allowed: 0 to {SOCKETS_MAX}. Unset it if none are handed over"),
        )),
        _ => Ok(()),
    }
}

fn wrong_kind(index: usize, name: &str, kind: &str, instead: &str, other: &str) -> Failure {
    let message = format!(
        "LISTEN_FDNAMES calls descriptor {} {name:?}, and it is {kind}; {instead} under that name, or name this one \"{other}\" \
         (FileDescriptorName={other})",
        FIRST + index
    );
    Failure::new(Exit::CannotListen, message)
}

/// Tells the service manager a state such as `READY=1`, if there is one that listens.
pub(super) fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    // A manager that does not hear it says so itself, by its own timeout.
    _ = send(&path, state.as_bytes());
}

fn send(path: &std::ffi::OsStr, state: &[u8]) -> std::io::Result<usize> {
    let socket = UnixDatagram::unbound()?;
    // A name that begins with @ is one of Linux's abstract sockets.
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::unix::ffi::OsStrExt::as_bytes(path).strip_prefix(b"@") {
        let address = <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)?;
        return socket.send_to_addr(state, &address);
    }
    socket.send_to(state, path)
}

/// The descriptor of the first socket.
const FIRST: usize = 3;
const SOCKETS_MAX: usize = 1_000;
