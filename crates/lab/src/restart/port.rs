//! Where the server under test listens, before and after.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that nobody has, below those that the system gives to connections: a client that tries while nobody listens must not
/// find itself there. Each call gives another.
pub fn free_port() -> io::Result<u16> {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 10_000) as u16;
    for _ in 0..10_000 {
        let port = 20_000 + (first + TRIED.fetch_add(1, Ordering::Relaxed) % 10_000) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("no free port between 20000 and 30000"))
}
