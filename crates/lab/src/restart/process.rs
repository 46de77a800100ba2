//! The server under test, as a process of its own.

use std::io;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use super::{Plan, RestartFault};

/// A server that ends with this, whatever happens.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
}

impl ServerProcess {
    /// Starts it at this port, and waits until it is ready.
    pub fn start(plan: &Plan, port: u16) -> Result<Self, RestartFault> {
        let ports = plan.data_dir.with_extension("ports.json");
        _ = std::fs::remove_file(&ports);
        let mut command = Command::new(&plan.binary);
        command.args(["serve", "--http", &format!("127.0.0.1:{port}"), "--tcp", "off"]);
        command.arg("--data-dir").arg(&plan.data_dir).arg("--ports-file").arg(&ports).args(&plan.arguments);
        let mut server = Self { child: command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()? };
        let began = Instant::now();
        while !ports.exists() {
            if let Some(status) = server.child.try_wait()? {
                return Err(RestartFault::Server(format!("ended at its start, with {status}")));
            }
            if began.elapsed() > START_MAX {
                return Err(RestartFault::TooLong("starting", START_MAX));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(server)
    }

    /// Asks it to end, or kills it.
    pub fn signal(&mut self, kill: bool) -> io::Result<()> {
        if kill {
            return self.child.kill();
        }
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(io::Error::other("kill did not reach the server")) }
    }

    /// Whether it has ended; an end with a failure is one, unless it was killed.
    pub fn has_ended(&mut self, killed: bool) -> Result<bool, RestartFault> {
        match self.child.try_wait()? {
            None => Ok(false),
            Some(status) if killed || status.success() => Ok(true),
            Some(status) => Err(RestartFault::Server(format!("ended with {status}"))),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

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

const START_MAX: Duration = Duration::from_secs(60);
