//! Starts a server and stops it again. Used by `bongsu serve` and by tests.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::config::{Config, Listener};

/// A running server.
pub struct Server {
    addresses: Addresses,
    _listener: Option<TcpListener>,
    stopping: Mutex<bool>,
    stopped: Condvar,
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
}

impl Server {
    /// Starts all listeners and workers; when it returns, clients can connect.
    pub fn start(config: Config) -> Result<Self, ServeFault> {
        let listener = match config.listen.http {
            Listener::Off => None,
            Listener::At(address) => {
                let bound = TcpListener::bind(address);
                Some(bound.map_err(|source| ServeFault::CannotListen { listener: "http", address, source })?)
            }
        };
        let http = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok(Self { addresses: Addresses { http }, _listener: listener, stopping: Mutex::new(false), stopped: Condvar::new() })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Begins the graceful end: no new connections, a goodbye to everyone. Returns at once.
    pub fn shutdown(&self) {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.notify_all();
    }

    /// Waits until the server has ended.
    pub fn join(&self) -> Result<(), ServeFault> {
        let mut stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopping {
            stopping = self.stopped.wait(stopping).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}
