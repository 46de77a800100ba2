//! The driver's sockets: TCP, or TLS over it, both without waiting.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::client::Trust;

/// A socket of one connection.
#[derive(Debug)]
pub(super) enum Socket {
    /// TCP as it is.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<Sealed>),
}

/// A socket and its session.
#[derive(Debug)]
pub(super) struct Sealed {
    stream: TcpStream,
    session: ClientConnection,
}

impl Socket {
    /// A socket that is connecting; over TLS if there is the file of a certificate to trust.
    pub(super) fn new(stream: TcpStream, ca: Option<&Path>) -> io::Result<Self> {
        let Some(ca) = ca else { return Ok(Self::Plain(stream)) };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let session = ClientConnection::new(trusting(ca)?, name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(Sealed { stream, session })))
    }
}

impl Read for Socket {
    /// Reads until the buffer is full or the socket empty, so that less than was asked for means empty here too.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(sealed) => sealed.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(sealed) => {
                let taken = sealed.session.writer().write(bytes)?;
                sealed.push()?;
                if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
            }
        }
    }

    /// Sends what is encrypted, as far as the socket takes it.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(sealed) => sealed.push(),
        }
    }
}

impl Sealed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            while filled < buffer.len() {
                match self.session.reader().read(&mut buffer[filled..]) {
                    Ok(0) => return Ok(filled),
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return if filled > 0 { Ok(filled) } else { Err(error) },
                }
            }
            if filled == buffer.len() {
                return Ok(filled);
            }
            match self.session.read_tls(&mut self.stream) {
                Ok(_) => _ = self.session.process_new_packets().map_err(io::Error::other)?,
                Err(_) if filled > 0 => break,
                Err(error) => {
                    self.push()?;
                    return Err(error);
                }
            }
        }
        self.push()?;
        Ok(filled)
    }

    fn push(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(_) => (),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// One configuration for all that trust the same file, so that its sessions are resumed.
fn trusting(ca: &Path) -> io::Result<Arc<ClientConfig>> {
    static KNOWN: Mutex<Option<HashMap<std::path::PathBuf, Arc<ClientConfig>>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(config) = known.get(ca) {
        return Ok(Arc::clone(config));
    }
    let config = Trust::file(ca).map_err(io::Error::other)?.config();
    known.insert(ca.to_owned(), Arc::clone(&config));
    Ok(config)
}
