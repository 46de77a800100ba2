//! WebSocket connections: the handshake, plain payloads, the native protocol, and the echo.

use bongsu_core::disconnect::Disconnect;
use bongsu_core::encoding::{Encoding, Framing};
use bongsu_core::format::Format;
use bongsu_core::hub::SubscriberKey;
use bongsu_core::stomp::Version as StompVersion;
use bongsu_core::websocket::deflate::{Window, negotiate};
use bongsu_core::websocket::{Decoder, Limits, Message, Opcode, Role, close, write_close, write_frame};
use bongsu_core::{ChannelName, ContentType, Draft, Start};
use bytes::{Bytes, BytesMut};

use super::answer::{Exchange, with_origin};
use super::handshake::accepted;
use super::stomp::{self, StompPhase};
use crate::connection::{Connection, Followed, Phase};
use crate::http::{Problem, Request};
use crate::metrics::{CloseReason, TransportKind};
use crate::worker::Worker;
use crate::worker::held::{Pending, Then};

/// A WebSocket that is open.
pub(crate) struct WebSocketPhase {
    decoder: Decoder,
    /// The window of what is sent to it, if compression was agreed.
    deflate: Option<Window>,
    speaks: Speaks,
    /// Whether a ping is out that nothing was heard since.
    pinged: bool,
    heard_ms: u64,
    /// When it is to be looked at for its pings.
    ping_due_ms: u64,
}

/// What its messages mean.
enum Speaks {
    /// A message is a payload, both ways, of one channel.
    Plain(ChannelName),
    /// Native commands and records.
    Native(Vec<Followed>),
    /// STOMP, in messages.
    Stomp(Box<StompPhase>),
    /// Whatever comes goes back.
    Echo,
}

impl WebSocketPhase {
    /// Bytes of memory that an unfinished message takes.
    pub(crate) fn capacity_held(&self) -> usize {
        self.decoder.capacity_held() + self.stomp().map_or(0, StompPhase::capacity_held)
    }

    /// The STOMP session, if it speaks STOMP.
    pub(crate) fn stomp(&self) -> Option<&StompPhase> {
        if let Speaks::Stomp(stomp) = &self.speaks { Some(stomp) } else { None }
    }

    /// The channels that it follows by native commands, if it speaks those.
    pub(super) fn followed_mut(&mut self) -> Option<&mut Vec<Followed>> {
        if let Speaks::Native(followed) = &mut self.speaks { Some(followed) } else { None }
    }

    /// The STOMP session again, to change it.
    pub(crate) fn stomp_mut(&mut self) -> Option<&mut StompPhase> {
        if let Speaks::Stomp(stomp) = &mut self.speaks { Some(stomp) } else { None }
    }
}

impl Worker {
    /// Makes a WebSocket of a request for a channel.
    pub(crate) fn upgrade_channel(
        &mut self,
        key: SubscriberKey,
        exchange: &Exchange,
        request: &Request,
        channels: &[ChannelName],
        starts: &[Start],
    ) -> Result<(), Problem> {
        let subprotocol =
            self.check_handshake(request, &[NATIVE, stomp::SUBPROTOCOLS[0], stomp::SUBPROTOCOLS[1], stomp::SUBPROTOCOLS[2]])?;
        let limits = self.websocket_limits();
        if let Some(version) = stomp::offered(request).filter(|_| subprotocol != Some(NATIVE)) {
            self.open_stomp_websocket(key, exchange, request, version);
            return Ok(());
        }
        if subprotocol.is_some() {
            self.open(key, exchange, request, subprotocol, limits, TransportKind::Native, |_, _| Speaks::Native(Vec::new()));
            return Ok(());
        }
        let ([channel], [start]) = (channels, starts) else {
            let detail = format!("a plain WebSocket has one channel; for several, offer the subprotocol {NATIVE}");
            return Err(Problem::new(400, "one-channel-only", detail));
        };
        // Joined before it is answered, so that whoever sees the answer and then publishes is heard.
        let (channel_key, located) = self.join(channel, start);
        self.open(key, exchange, request, None, limits, TransportKind::WebSocket, |_, _| Speaks::Plain(channel.clone()));
        // Its frames are payloads, which leave no room to tell a gap: the connection ends rather than be silent.
        if let Some(gap) = located.gap {
            self.metrics.gap(gap.reason);
            self.disconnect(key, &Disconnect::Gap { channel: channel.clone(), gap });
            return Ok(());
        }
        let encoding = self.websocket_encoding(key, Format::Payload);
        self.hub.subscribe(key, channel_key, encoding, located.cursor.offset);
        self.pump(key);
        Ok(())
    }

    /// Makes an echo of a request.
    pub(crate) fn upgrade_echo(&mut self, key: SubscriberKey, exchange: &Exchange, request: &Request) {
        let limits = &self.shared.config.echo;
        let limits = Limits {
            message_bytes_max: limits.message_bytes_max.as_usize(),
            frame_bytes_max: limits.frame_bytes_max.as_usize(),
            fragments_max: limits.fragments_max,
        };
        match self.check_handshake(request, &[]) {
            Ok(_) => self.open(key, exchange, request, None, limits, TransportKind::Echo, |_, _| Speaks::Echo),
            Err(problem) => self.refuse(key, exchange, problem),
        }
    }

    /// Makes a WebSocket that speaks this version of STOMP of a request.
    pub(super) fn open_stomp_websocket(&mut self, key: SubscriberKey, exchange: &Exchange, request: &Request, version: StompVersion) {
        let (limits, kind) = (self.websocket_limits(), TransportKind::StompWebSocket);
        self.open(key, exchange, request, Some(version.subprotocol()), limits, kind, |worker, deflate| {
            let stomp = StompPhase::new(&worker.shared, &[version], Framing::WebSocket, deflate, worker.now_ms());
            Speaks::Stomp(Box::new(stomp))
        });
    }

    fn websocket_limits(&self) -> Limits {
        let limits = &self.shared.config.websocket;
        Limits {
            message_bytes_max: limits.message_bytes_max.as_usize(),
            frame_bytes_max: limits.frame_bytes_max.as_usize(),
            fragments_max: limits.fragments_max,
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn open(
        &mut self,
        key: SubscriberKey,
        exchange: &Exchange,
        request: &Request,
        subprotocol: Option<&str>,
        limits: Limits,
        kind: TransportKind,
        speaks: impl FnOnce(&Self, Option<Window>) -> Speaks,
    ) {
        let offers = request.header_all("sec-websocket-extensions");
        let agreed = negotiate(offers, &self.shared.deflate).map(|agreed| agreed.without_server_context());
        let response = accepted(request)
            .header_opt("sec-websocket-protocol", subprotocol)
            .header_opt("sec-websocket-extensions", agreed.map(|agreed| agreed.answer()).as_deref());
        self.metrics.request(exchange.route, response.status);
        let head = self.begin(key, with_origin(response, exchange, &None)).freeze();
        self.become_kind(key, kind);
        let now_ms = self.now_ms();
        let decoder = match &agreed {
            Some(agreed) => Decoder::with_deflate(Role::Server, limits, agreed),
            None => Decoder::new(Role::Server, limits),
        };
        let deflate = agreed.and_then(|agreed| Window::of_bits(agreed.outgoing(Role::Server).window_bits));
        let ping_due_ms = now_ms + self.shared.config.websocket.ping_interval.as_millis();
        let speaks = speaks(self, deflate);
        let phase = WebSocketPhase { decoder, deflate, speaks, pinged: false, heard_ms: now_ms, ping_due_ms };
        self.set_phase(key, Phase::WebSocket(Box::new(phase)));
        self.arm_websocket(key);
        if !head.is_empty() {
            self.send(key, head);
        }
    }

    /// Acts on the messages that came. Tells whether there may be more to do in another phase.
    pub(crate) fn on_websocket(&mut self, key: SubscriberKey, input: &mut BytesMut) -> bool {
        let now_ms = self.now_ms();
        self.on_sign_of_life(key, now_ms);
        let mut replies = BytesMut::new();
        self.go_on_with_stomp(key, &mut replies);
        loop {
            let own_max = self.shared.config.delivery.outbox_bytes_max.as_usize() / 2;
            let waits = self.hub.waiting_bytes(key) > own_max;
            let Some(Connection { phase: Phase::WebSocket(websocket), .. }) = self.hub.sink(key) else { break };
            if waits && websocket.stomp().is_some_and(StompPhase::has_pending) {
                break;
            }
            let is_plain = matches!(websocket.speaks, Speaks::Plain(_));
            let decoded = websocket.decoder.decode_with(input, &mut self.inflater);
            match decoded {
                Ok(None) => break,
                Ok(Some(message)) => self.on_message(key, message, &mut replies),
                Err(fault) => {
                    self.metrics.fault(fault.name());
                    let why = Disconnect::ProtocolFault { code: fault.close_code(), reason: fault.to_string() };
                    self.reply(key, &mut replies);
                    self.disconnect(key, &why);
                    break;
                }
            }
            if replies.len() > own_max {
                self.reply(key, &mut replies);
            }
            if self.is_held(key) {
                break;
            }
            // Answers that are not taken hold back the questions. Plain payloads have no answers.
            if (!is_plain && self.hub.waiting_bytes(key) > own_max) || self.is_paused(key) {
                break;
            }
        }
        self.reply(key, &mut replies);
        false
    }

    /// The peer said something. If it was asked whether it is there, the wait for its answer gives way to the next silence.
    fn on_sign_of_life(&mut self, key: SubscriberKey, now_ms: u64) {
        let interval_ms = self.shared.config.websocket.ping_interval.as_millis();
        let Some(Connection { phase: Phase::WebSocket(websocket), .. }) = self.hub.sink(key) else { return };
        websocket.heard_ms = now_ms;
        if std::mem::take(&mut websocket.pinged) {
            websocket.ping_due_ms = now_ms + interval_ms;
            self.arm_websocket(key);
        }
    }

    fn on_message(&mut self, key: SubscriberKey, message: Message, replies: &mut BytesMut) {
        match message {
            Message::Ping(payload) => write_frame(replies, Opcode::Pong, &payload),
            Message::Pong(_) => (),
            Message::Close(frame) => self.on_close(key, frame.map(|frame| frame.code), replies),
            Message::Text(data) => self.on_data(key, Opcode::Text, data, replies),
            Message::Binary(data) => self.on_data(key, Opcode::Binary, data, replies),
        }
    }

    fn on_data(&mut self, key: SubscriberKey, opcode: Opcode, data: Bytes, replies: &mut BytesMut) {
        let Some(Connection { phase: Phase::WebSocket(websocket), .. }) = self.hub.sink(key) else { return };
        let deflate = websocket.deflate;
        match &mut websocket.speaks {
            Speaks::Echo => self.hub.encoder().message(deflate, opcode, &data, replies),
            Speaks::Native(_) => {
                let encoding = Encoding { deflate, ..Encoding::new(Format::Json, Framing::WebSocket) };
                self.on_native(key, encoding, &data, replies);
            }
            Speaks::Stomp(_) => self.on_stomp_message(key, &data, replies),
            Speaks::Plain(channel) => {
                let channel = channel.clone();
                let content_type = if opcode == Opcode::Text { ContentType::Text } else { ContentType::Octets };
                // A copy of its own: the message still shares the worker's read buffer.
                let draft = Draft { data: Bytes::copy_from_slice(&data), content_type, ..Draft::default() };
                // There is no frame that could refuse it.
                self.charge_and_wait(key, data.len());
                let (kind, then, following) = (TransportKind::WebSocket, Then::Nothing, Vec::new());
                let pending = Pending { kind, channel, draft, idempotency: None, following, then };
                self.publish_patiently(key, pending, replies);
            }
        }
    }

    /// The peer closes: the close is answered with its own code (RFC 6455, 5.5.1), and the connection ends.
    fn on_close(&mut self, key: SubscriberKey, code: Option<u16>, replies: &mut BytesMut) {
        self.hub.quiet(key);
        write_close(replies, code.unwrap_or(close::NO_CODE), "");
        let last = replies.split().freeze();
        self.finish(key, last, CloseReason::Client, CLOSED_LINGER_MS);
    }

    /// How a connection's messages are written: those that agreed to the same compression share theirs.
    fn websocket_encoding(&mut self, key: SubscriberKey, format: Format) -> Encoding {
        let deflate = match self.hub.sink(key) {
            Some(Connection { phase: Phase::WebSocket(websocket), .. }) => websocket.deflate,
            _ => None,
        };
        Encoding { deflate, ..Encoding::new(format, Framing::WebSocket) }
    }

    /// Asks a silent client whether it is there, and lets one go that did not answer. Who is blocked is judged by its lag.
    pub(crate) fn on_ping_due(&mut self, key: SubscriberKey, now_ms: u64) {
        self.on_stomp_due(key, now_ms);
        let config = &self.shared.config.websocket;
        let (interval_ms, timeout_ms) = (config.ping_interval.as_millis(), config.ping_timeout.as_millis());
        let drained = self.hub.is_drained(key);
        let paused = self.is_paused(key);
        let Some(Connection { phase: Phase::WebSocket(websocket), .. }) = self.hub.sink(key) else { return };
        if paused {
            // It is we who do not listen.
            websocket.ping_due_ms = now_ms + interval_ms;
        }
        if now_ms < websocket.ping_due_ms {
            return self.arm_websocket(key);
        }
        let silent_ms = now_ms.saturating_sub(websocket.heard_ms);
        if websocket.pinged && drained {
            return self.disconnect(key, &Disconnect::PingTimeout);
        }
        if silent_ms < interval_ms || !drained {
            websocket.ping_due_ms = now_ms + interval_ms.saturating_sub(silent_ms).max(1);
            return self.arm_websocket(key);
        }
        websocket.pinged = true;
        websocket.ping_due_ms = now_ms + timeout_ms;
        self.arm_websocket(key);
        self.send(key, Bytes::from_static(PING));
    }

    /// Has the connection looked at when its ping, or its session's heart-beat, is due.
    pub(crate) fn arm_websocket(&mut self, key: SubscriberKey) {
        let beats_due_ms = self.beats_due_ms(key);
        let Some(Connection { phase: Phase::WebSocket(websocket), .. }) = self.hub.sink(key) else { return };
        let due_ms = websocket.ping_due_ms.min(beats_due_ms);
        self.arm(key, due_ms);
    }

    /// The goodbye of a WebSocket: in the native protocol a `bye`, in STOMP an ERROR, then the close frame.
    pub(crate) fn websocket_farewell(&mut self, key: SubscriberKey, why: &Disconnect) -> Bytes {
        let reconnect_ms = self.reconnect_ms();
        let goodbye = why.goodbye();
        let mut last = BytesMut::from(self.stomp_farewell(key, why));
        if self.followed(key).is_some() {
            let encoding = self.websocket_encoding(key, Format::Json);
            self.hub.encoder().goodbye(encoding, &goodbye, reconnect_ms, &mut last);
        }
        write_close(&mut last, goodbye.code, &goodbye.reason);
        last.freeze()
    }
}

/// The subprotocol of the native protocol.
const NATIVE: &str = "bongsu.v1.json";
/// A ping without a payload.
const PING: &[u8] = &[0x89, 0x00];
/// How long a client that closed may take to end its connection.
const CLOSED_LINGER_MS: u64 = 1000;
