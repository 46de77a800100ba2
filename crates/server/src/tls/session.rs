//! One TLS session, without a socket: records become plaintext, plaintext becomes records. Used by the link.

use std::sync::Arc;

use bytes::BytesMut;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{HandshakeKind, ServerConfig};

use super::fault::TlsFault;

/// A session of the server's side.
pub(super) struct Session {
    connection: UnbufferedServerConnection,
    /// Whether the peer said that it sends no more.
    ended: bool,
}

/// What came of some bytes.
pub(super) struct Progress {
    /// How many of them are done with.
    pub(super) used: usize,
    /// Whether the peer said that it sends no more.
    pub(super) ended: bool,
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, TlsFault> {
        let connection = UnbufferedServerConnection::new(config).map_err(|error| TlsFault::of(&error))?;
        Ok(Self { connection, ended: false })
    }

    /// Whether the handshake is done.
    pub(super) fn is_open(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Whether it went on from an earlier session.
    pub(super) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether the peer said that it sends no more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes records: plaintext goes behind `input`, answers behind `outgoing`, also the alert that tells the peer its fault.
    pub(super) fn take(&mut self, records: &mut [u8], input: &mut BytesMut, outgoing: &mut BytesMut) -> Result<Progress, TlsFault> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } = self.connection.process_tls_records(&mut records[used..]);
            let goes_on = match state {
                Err(error) => {
                    self.take_alert(outgoing);
                    return Err(TlsFault::of(&error));
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| TlsFault::of(&error))?;
                        discard += record.discard;
                        input.extend_from_slice(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(outgoing, |room| laid(data.encode(room)));
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    true
                }
                Ok(_) => false,
            };
            used += discard;
            if !goes_on {
                return Ok(Progress { used, ended: self.ended });
            }
        }
    }

    /// Seals plaintext into records behind `outgoing`. What came and is no whole record yet is `pending`; it stays as it is.
    pub(super) fn seal(&mut self, plaintext: &[u8], pending: &mut [u8], outgoing: &mut BytesMut) -> Result<(), TlsFault> {
        self.write(pending, outgoing, |traffic, room| traffic.encrypt(plaintext, room))
    }

    /// Seals the word that nothing more follows.
    pub(super) fn seal_end(&mut self, pending: &mut [u8], outgoing: &mut BytesMut) {
        // A session that cannot say it any more is cut off, which its peer will notice.
        _ = self.write(pending, outgoing, |traffic, room| traffic.queue_close_notify(room));
    }

    fn write(&mut self, pending: &mut [u8], outgoing: &mut BytesMut, mut write: impl Write) -> Result<(), TlsFault> {
        loop {
            match self.connection.process_tls_records(pending).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => append(outgoing, |room| laid(data.encode(room))),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let mut exhausted = false;
                    append(outgoing, |room| match write(&mut traffic, room) {
                        Ok(len) => Laid::Bytes(len),
                        Err(EncryptError::InsufficientSize(missing)) => Laid::Needs(missing.required_size),
                        Err(EncryptError::EncryptExhausted) => {
                            exhausted = true;
                            Laid::Bytes(0)
                        }
                    });
                    return if exhausted { Err(TlsFault::Exhausted) } else { Ok(()) };
                }
                _ => return Err(TlsFault::Protocol),
            }
        }
    }

    /// What the peer is to be told about its fault.
    fn take_alert(&mut self, outgoing: &mut BytesMut) {
        while let Ok(ConnectionState::EncodeTlsData(mut data)) = self.connection.process_tls_records(&mut []).state {
            append(outgoing, |room| laid(data.encode(room)));
        }
    }
}

/// A way to write something of ours into some room.
trait Write: FnMut(&mut WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Result<usize, EncryptError> {}

impl<F: FnMut(&mut WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Result<usize, EncryptError>> Write for F {}

/// What became of an attempt to write into some room.
enum Laid {
    /// So many bytes were written.
    Bytes(usize),
    /// Nothing was: so much room is needed.
    Needs(usize),
}

fn laid(encoded: Result<usize, EncodeError>) -> Laid {
    match encoded {
        Ok(len) => Laid::Bytes(len),
        Err(EncodeError::InsufficientSize(missing)) => Laid::Needs(missing.required_size),
        Err(EncodeError::AlreadyEncoded) => Laid::Bytes(0),
    }
}

/// Appends what `lay` writes into the room that it is given, and gives it more until that is enough.
fn append(outgoing: &mut BytesMut, mut lay: impl FnMut(&mut [u8]) -> Laid) {
    let from = outgoing.len();
    let mut room = outgoing.capacity() - from;
    loop {
        outgoing.resize(from + room, 0);
        match lay(&mut outgoing[from..]) {
            Laid::Bytes(len) => return outgoing.truncate(from + len),
            Laid::Needs(bytes) => room = bytes.max(room + 1),
        }
    }
}
