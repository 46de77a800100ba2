//! Carries the hub's tallies, which are kept by encoding, to the metrics, which are kept by transport.

use bongsu_core::encoding::{Encoding, Framing};
use bongsu_core::format::Format;
use bongsu_core::hub::{Hub, Tally};

use crate::connection::Connection;
use crate::metrics::{TransportKind, WorkerMetrics};

/// What was reported last.
#[derive(Debug)]
pub(crate) struct Tallies {
    reported: [Tally; Encoding::COUNT],
    tape_bytes: i64,
    outbox_bytes: i64,
    subscriptions: i64,
}

impl Default for Tallies {
    fn default() -> Self {
        Self { reported: [Tally::default(); Encoding::COUNT], tape_bytes: 0, outbox_bytes: 0, subscriptions: 0 }
    }
}

impl Tallies {
    /// Reports what has come since the last time.
    pub(crate) fn report(&mut self, hub: &Hub<Connection>, metrics: &WorkerMetrics) {
        for format in FORMATS {
            for framing in [Framing::Raw, Framing::Chunked, Framing::WebSocket] {
                for own in [false, true] {
                    let index = Encoding { format, framing, own }.index();
                    let now = hub.tallies()[index];
                    let before = std::mem::replace(&mut self.reported[index], now);
                    let kind = kind_of(format, framing);
                    metrics.deliveries(kind, now.deliveries - before.deliveries);
                    metrics.delivery_bytes(kind, now.bytes - before.bytes);
                }
            }
        }
        let subscriptions = hub.subscriptions() as i64;
        metrics.subscriptions_changed(subscriptions - std::mem::replace(&mut self.subscriptions, subscriptions));
        let (tape_bytes, outbox_bytes) = (hub.tapes_bytes() as i64, hub.outbox_bytes() as i64);
        metrics.tape_bytes_changed(tape_bytes - std::mem::replace(&mut self.tape_bytes, tape_bytes));
        metrics.outbox_bytes_changed(outbox_bytes - std::mem::replace(&mut self.outbox_bytes, outbox_bytes));
    }
}

/// The transport that a pairing of format and framing belongs to.
pub(crate) fn kind_of(format: Format, framing: Framing) -> TransportKind {
    match (format, framing) {
        (Format::Payload, _) => TransportKind::WebSocket,
        (_, Framing::WebSocket) => TransportKind::Native,
        // A stream over HTTP/1.0 is without frames as well; it is too rare to be told apart.
        (Format::Json, Framing::Raw) => TransportKind::Tcp,
        (Format::Json, _) => TransportKind::Stream,
        (Format::Sse | Format::SseJson, _) => TransportKind::Sse,
        (Format::Multipart, _) => TransportKind::Multipart,
    }
}

const FORMATS: [Format; 5] = [Format::Payload, Format::Json, Format::Sse, Format::SseJson, Format::Multipart];
