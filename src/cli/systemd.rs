//! What systemd, or anything that follows its protocols, gives a service and wants to be told. Without it nothing happens here.

use std::os::unix::net::{SocketAddr, UnixDatagram};

use bongsu_server::serve::Starting;
use listenfd::ListenFd;

use super::exit::{Exit, Failure};

/// The listening sockets that were handed over: `LISTEN_FDS` of them, meant for the process `LISTEN_PID`, from descriptor 3 on.
/// Those that `LISTEN_FDNAMES` calls `tcp` are for the native protocol, those that it calls `stomp` for STOMP, all others for HTTP.
pub(super) fn inherited_sockets() -> Result<Starting, Failure> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut handed_over = ListenFd::from_env();
    let mut starting = Starting::default();
    for index in 0..handed_over.len() {
        let unusable = |error| Failure::new(Exit::CannotListen, format!("LISTEN_FDS: socket {index} is no TCP listener: {error}"));
        let sockets = match names.next() {
            Some("tcp") => &mut starting.tcp,
            Some("stomp") => &mut starting.stomp,
            _ => &mut starting.http,
        };
        sockets.extend(handed_over.take_tcp_listener(index).map_err(unusable)?);
    }
    Ok(starting)
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
