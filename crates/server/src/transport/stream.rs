//! Streams over HTTP: lines, parts or events, as they happen, until the client or the server ends them.

use bongsu_core::disconnect::Disconnect;
use bongsu_core::encoding::{Encoding, Framing};
use bongsu_core::format::Format;
use bongsu_core::hub::{ChannelKey, SubscriberKey};
use bongsu_core::log::Located;
use bongsu_core::{ChannelName, Composite, Start};
use bytes::{Bytes, BytesMut};

use super::answer::{Exchange, with_origin};
use crate::connection::{Connection, Followed, Phase};
use crate::http::negotiate::{self, Wanted};
use crate::http::{Response, Version};
use crate::tally::kind_of;
use crate::worker::Worker;

/// A stream that is under way.
pub(crate) struct Streaming {
    encoding: Encoding,
    channels: Box<[Followed]>,
}

impl Worker {
    /// Begins a stream.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn stream(
        &mut self,
        key: SubscriberKey,
        exchange: &Exchange,
        wanted: Wanted,
        json_events: bool,
        channels: &[ChannelName],
        starts: &[Start],
        composite: bool,
    ) {
        let format = match wanted {
            Wanted::Lines | Wanted::Page => Format::Json,
            Wanted::Multipart => Format::Multipart,
            Wanted::Events if json_events => Format::SseJson,
            Wanted::Events => Format::Sse,
        };
        // HTTP/1.0 knows no chunks, there the end of the connection ends the body; and a stream of HTTP/2 has an end of its own.
        let framing = if exchange.version == Version::Http11 { Framing::Chunked } else { Framing::Raw };
        let encoding = Encoding { own: composite, ..Encoding::new(format, framing) };
        let response = self.stream_head(format, exchange);
        if exchange.head_only {
            return self.answer(key, exchange, response);
        }
        let response = with_origin(response, exchange, &self.shared.vary_origin);
        let mut opening = self.begin(key, response);
        self.metrics.request(exchange.route, 200);
        self.become_kind(key, kind_of(format, framing));
        let joins: Vec<_> = channels.iter().zip(starts).map(|(channel, start)| self.join(channel, start)).collect();
        let encoder = self.hub.encoder().clone();
        encoder.preamble(encoding, &mut opening);
        let mut whole = composite.then(|| Composite::new(channels));
        if let Some(whole) = &mut whole {
            joins.iter().enumerate().for_each(|(index, (_, located))| whole.ask(index, &located.told()));
        }
        for (index, (channel, (_, located))) in channels.iter().zip(&joins).enumerate() {
            let told = located.told();
            let text = whole.as_ref().map_or(told.as_str(), Composite::as_str);
            encoder.start(encoding, channel, located.cursor, Some(text), &mut opening);
            let Some(gap) = &located.gap else { continue };
            self.metrics.gap(gap.reason);
            if let Some(whole) = &mut whole {
                whole.advance(index, gap.resumed);
            }
            encoder.gap(encoding, channel, gap, whole.as_ref().map(Composite::as_str), &mut opening);
        }
        if let Some(composite) = whole {
            self.hub.set_composite(key, composite);
        }
        self.send(key, opening.freeze());
        let channels = channels
            .iter()
            .zip(joins)
            .map(|(name, (channel, located))| {
                let slot = self.hub.subscribe(key, channel, encoding, located.cursor.offset);
                Followed { name: name.clone(), slot }
            })
            .collect();
        self.set_phase(key, Phase::Streaming(Box::new(Streaming { encoding, channels })));
        self.arm(key, self.now_ms() + self.shared.config.http.heartbeat.as_millis());
        self.pump(key);
    }

    /// Shows a silent stream's proxies, and its client, that it is alive. Who is behind gets publications instead.
    pub(crate) fn on_heartbeat_due(&mut self, key: SubscriberKey, now_ms: u64) {
        let heartbeat_ms = self.shared.config.http.heartbeat.as_millis();
        self.arm(key, now_ms + heartbeat_ms);
        if !self.hub.is_drained(key) {
            return;
        }
        let Some(Connection { phase: Phase::Streaming(streaming), .. }) = self.hub.sink(key) else { return };
        let encoding = streaming.encoding;
        let Some(Followed { name, slot }) = streaming.channels.first().cloned() else { return };
        let Some(cursor) = self.hub.sent(key, slot) else { return };
        let composite = self.hub.composite(key);
        let mut beat = BytesMut::new();
        self.hub.encoder().heartbeat(encoding, &name, cursor, composite.as_deref(), &mut beat);
        self.send(key, beat.freeze());
    }

    /// The last record of a stream.
    pub(crate) fn stream_farewell(&mut self, key: SubscriberKey, why: &Disconnect) -> Bytes {
        let reconnect_ms = self.reconnect_ms();
        let Some(Connection { phase: Phase::Streaming(streaming), .. }) = self.hub.sink(key) else { return Bytes::new() };
        let encoding = streaming.encoding;
        let mut last = BytesMut::new();
        self.hub.encoder().goodbye(encoding, &why.goodbye(), reconnect_ms, &mut last);
        last.freeze()
    }

    /// Watches a channel and finds where a subscription begins. What was published before is delivered to those who were there, so
    /// that the tape then ends at or past where the new one begins.
    pub(crate) fn join(&mut self, channel: &ChannelName, start: &Start) -> (ChannelKey, Located) {
        let key = self.watch(channel);
        let located = self.engine().locate(channel, start);
        self.turn();
        (key, located)
    }

    /// Has a channel announced to this worker.
    pub(crate) fn watch(&mut self, channel: &ChannelName) -> ChannelKey {
        match self.hub.channel(channel) {
            Some(key) => key,
            None => {
                let watched = Self::watching(&self.shared, self.index()).watch(channel);
                self.hub.add_channel(channel, watched)
            }
        }
    }

    fn stream_head(&self, format: Format, exchange: &Exchange) -> Response {
        let content_type = self.hub.encoder().forms().content_type(format);
        let response = Response::stream(200)
            .header("content-type", &content_type)
            .header("x-content-type-options", "nosniff")
            .header("cache-control", "no-store, no-transform")
            // nginx and those that follow it hold a stream back unless they are told not to.
            .header("x-accel-buffering", "no")
            .header("vary", negotiate::VARY);
        match exchange.version {
            Version::Http10 => response.header("connection", "close"),
            Version::Http11 => response.header("transfer-encoding", "chunked"),
            Version::Http2 => response,
        }
    }
}

impl Worker {
    /// What a connection is told at its end, in its transport's own words.
    pub(crate) fn farewell(&mut self, key: SubscriberKey, why: &Disconnect) -> Bytes {
        let Some(connection) = self.hub.sink(key) else { return Bytes::new() };
        match &connection.phase {
            Phase::Head | Phase::Body(_) => self.request_farewell(key, why),
            Phase::Waiting(_) => self.waiting_farewell(key),
            Phase::Streaming(_) => self.stream_farewell(key, why),
            Phase::WebSocket(_) => self.websocket_farewell(key, why),
            Phase::Lines(_) => self.lines_farewell(why),
            Phase::Datagrams(_) => self.datagrams_farewell(why),
            Phase::Stomp(_) => self.stomp_farewell(key, why),
            Phase::Closing(_) | Phase::Handover => Bytes::new(),
        }
    }
}
