//! What the worker does about TLS: handshakes that end well or badly, and those who speak in the clear where TLS is wanted.

use bongsu_core::hub::SubscriberKey;
use bongsu_core::native;
use bytes::{Bytes, BytesMut};
use tracing::debug;

use super::Worker;
use crate::connection::Phase;
use crate::metrics::{CloseReason, TlsHandshake};
use crate::tls::{News, TlsFault};

impl Worker {
    /// Acts on what happened to a connection's TLS.
    pub(super) fn on_tls(&mut self, key: SubscriberKey, news: News) {
        match news {
            News::Opened { resumed } => {
                self.metrics.tls_handshake(if resumed { TlsHandshake::Resumed } else { TlsHandshake::Full });
                self.await_first(key);
            }
            News::Clear => {
                self.metrics.fault("tls-wanted");
                self.await_first(key);
                self.send_elsewhere(key);
            }
            News::Failed { fault, in_handshake } => {
                if in_handshake {
                    self.metrics.tls_handshake(TlsHandshake::Failed);
                }
                self.fail_tls(key, fault);
            }
        }
    }

    /// The time for a handshake is over.
    pub(super) fn on_handshake_due(&mut self, key: SubscriberKey) {
        self.metrics.tls_handshake(TlsHandshake::Failed);
        self.metrics.fault(TlsFault::Timeout.name());
        self.close(key, CloseReason::Silent);
    }

    /// Has a connection that is not handshaking say what it wants, within the time for that.
    pub(super) fn await_first(&mut self, key: SubscriberKey) {
        let due_ms = self.now_ms() + self.shared.config.http.head_timeout.as_millis();
        let Some(connection) = self.hub.sink(key) else { return };
        match connection.phase {
            Phase::Head => self.arm(key, due_ms),
            // These have times of their own, and they begin now.
            Phase::Lines(_) => self.open_lines(key),
            Phase::Stomp(_) => self.open_stomp(key),
            _ => self.arm(key, u64::MAX),
        }
    }

    /// Marks a connection as one that is only told to come by TLS: over HTTP once its request is read, else at once.
    pub(super) fn send_elsewhere(&mut self, key: SubscriberKey) {
        let Some(connection) = self.hub.sink(key) else { return };
        connection.elsewhere = true;
        let last = match connection.phase {
            Phase::Lines(_) => {
                let mut line = BytesMut::new();
                native::write_error(None, "tls-wanted", TLS_WANTED, &mut line);
                line.extend_from_slice(b"\n");
                line.freeze()
            }
            Phase::Stomp(_) => {
                format!("ERROR\nmessage:tls-wanted\ncontent-type:text/plain\ncontent-length:{}\n\n{TLS_WANTED}\0", TLS_WANTED.len()).into()
            }
            _ => return,
        };
        self.finish(key, last, CloseReason::Fault, LINGER_MS);
    }

    /// The peer has been told by an alert.
    fn fail_tls(&mut self, key: SubscriberKey, fault: TlsFault) {
        debug!(key, name = fault.name(), "TLS failed: {fault}");
        self.metrics.fault(fault.name());
        let Some(connection) = self.hub.sink(key) else { return };
        if !matches!(connection.phase, Phase::Closing(_)) {
            self.hub.quiet(key);
            self.finish(key, Bytes::new(), CloseReason::Fault, LINGER_MS);
        }
    }
}

/// What a client is told that speaks in the clear.
const TLS_WANTED: &str = "this listener speaks TLS; connect again with TLS";
/// How long a peer may take to read what it was told.
const LINGER_MS: u64 = 1000;
