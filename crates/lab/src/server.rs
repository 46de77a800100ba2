//! A `bongsu serve` of our own, as a process: for the examples, and for the restart, which ends it and starts another.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A server that ends with this, whatever happens.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    http: SocketAddr,
}

/// Why a server did not start or end as it should.
#[derive(Debug, thiserror::Error)]
pub enum ServerFault {
    /// The system refused something.
    #[error("the server: {0}")]
    Io(#[from] io::Error),
    /// It ended at its start.
    #[error("the server ended at its start, with {0}")]
    EndedAtStart(ExitStatus),
    /// It was not ready in time.
    #[error("the server was not ready within {0:?}")]
    Late(Duration),
    /// It ended with a failure.
    #[error("the server ended with {0}")]
    Failed(ExitStatus),
}

impl ServerProcess {
    /// Starts it with these arguments for `serve`, and waits until it is ready, which it tells in the file for its ports.
    pub fn start(binary: &Path, ports: &Path, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Result<Self, ServerFault> {
        // One that ran before may have left it.
        _ = std::fs::remove_file(ports);
        let mut command = Command::new(binary);
        command.arg("serve").arg("--ports-file").arg(ports).args(arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Self { child, http: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let began = Instant::now();
        loop {
            // It is renamed into place, so that it is there as a whole or not at all.
            if let Ok(told) = std::fs::read(ports) {
                server.http = http_of(&told)?;
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                return Err(ServerFault::EndedAtStart(status));
            }
            if began.elapsed() > START_MAX {
                return Err(ServerFault::Late(START_MAX));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Where it speaks HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
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
    pub fn has_ended(&mut self, killed: bool) -> Result<bool, ServerFault> {
        match self.child.try_wait()? {
            None => Ok(false),
            Some(status) if killed || status.success() => Ok(true),
            Some(status) => Err(ServerFault::Failed(status)),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // One that has ended by itself cannot be ended again.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn http_of(told: &[u8]) -> io::Result<SocketAddr> {
    let ports: serde_json::Value = serde_json::from_slice(told)?;
    ports["http"].as_str().and_then(|address| address.parse().ok()).ok_or_else(|| io::Error::other("it told no address for HTTP"))
}

const START_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_ends_at_once_is_told() {
        let ports = tempfile::tempdir().expect("a folder").path().join("ports.json");
        let fault = ServerProcess::start(Path::new("/bin/false"), &ports, ["--http", "off"]).expect_err("it ends");
        assert!(matches!(fault, ServerFault::EndedAtStart(_)), "{fault}");
    }

    #[test]
    fn the_address_is_the_one_that_it_told() {
        assert_eq!(http_of(br#"{"http":"127.0.0.1:41234"}"#).expect("an address"), SocketAddr::from(([127, 0, 0, 1], 41234)));
        assert!(http_of(b"{}").is_err());
    }
}
