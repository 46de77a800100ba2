//! Carries the hub's tallies, which are kept by encoding, to the metrics, which are kept by transport.

use bongsu_core::encoding::{Encoding, Framing};
use bongsu_core::format::Format;
use bongsu_core::hub::{Hub, Tally};
use bongsu_core::websocket::deflate::Compressions;

use crate::connection::Connection;
use crate::metrics::{TransportKind, WorkerMetrics};

/// What was reported last.
#[derive(Debug)]
pub(crate) struct Tallies {
    reported: Box<[Tally; Encoding::COUNT]>,
    compressions: Compressions,
    tape_bytes: i64,
    outbox_bytes: i64,
    subscriptions: i64,
}

impl Default for Tallies {
    fn default() -> Self {
        let reported = Box::new([Tally::default(); Encoding::COUNT]);
        Self { reported, compressions: Compressions::default(), tape_bytes: 0, outbox_bytes: 0, subscriptions: 0 }
    }
}

impl Tallies {
    /// Reports what has come since the last time.
    pub(crate) fn report(&mut self, hub: &Hub<Connection>, metrics: &WorkerMetrics) {
        for encoding in Encoding::all() {
            let index = encoding.index();
            let now = hub.tallies()[index];
            let before = std::mem::replace(&mut self.reported[index], now);
            if now != before {
                let kind = kind_of(encoding.format, encoding.framing);
                metrics.deliveries(kind, now.deliveries - before.deliveries);
                metrics.delivery_bytes(kind, now.bytes - before.bytes);
            }
        }
        let (now, before) = (hub.encoder().compressions(), self.compressions);
        self.compressions = now;
        metrics.compressed(now.messages - before.messages, now.bytes_in - before.bytes_in, now.bytes_out - before.bytes_out);
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
        (Format::Stomp(_), Framing::WebSocket) => TransportKind::StompWebSocket,
        (Format::Stomp(_), _) => TransportKind::Stomp,
        (Format::Payload, _) => TransportKind::WebSocket,
        (_, Framing::WebSocket) => TransportKind::Native,
        // A stream over HTTP/1.0 is without frames as well; it is too rare to be told apart.
        (Format::Json, Framing::Raw) => TransportKind::Tcp,
        (Format::Json, _) => TransportKind::Stream,
        (Format::Sse | Format::SseJson, _) => TransportKind::Sse,
        (Format::Multipart, _) => TransportKind::Multipart,
    }
}
