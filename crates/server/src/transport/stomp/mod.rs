//! STOMP over TCP and over WebSocket: a session decides (`bongsu_core::stomp`), and what it asks for is done here.

mod beats;
mod publish;
mod queues;
mod subscribe;
mod upgrade;

use bongsu_core::Position;
use bongsu_core::disconnect::Disconnect;
use bongsu_core::encoding::{Encoding, Framing};
use bongsu_core::format::Format;
use bongsu_core::hub::{Slot, SubscriberKey};
use bongsu_core::stomp::{Action, Connect, FormKey, StompSession, SubscriptionNumber, Version};
use bongsu_core::websocket::deflate::Window;
use bongsu_core::websocket::{Opcode, close, write_close};
use bytes::{Bytes, BytesMut};

use crate::connection::Phase;
use crate::metrics::CloseReason;
use crate::shared::Shared;
use crate::worker::Worker;
use beats::Beats;
pub(crate) use publish::Commit;
pub(crate) use queues::Consumers;
pub(crate) use upgrade::{SUBPROTOCOLS, offered};

/// A connection that speaks STOMP.
pub(crate) struct StompPhase {
    session: StompSession,
    followed: Vec<Following>,
    /// What carries its frames.
    framing: Framing,
    deflate: Option<Window>,
    beats: Beats,
    /// What WebSocket messages brought and is no whole frame yet, or waits for room for its answers.
    pending: BytesMut,
    /// How many of its NACKs were counted.
    nacks_counted: u64,
}

/// A subscription, as the session and as the hub name it.
#[derive(Debug, Clone, Copy)]
struct Following {
    subscription: SubscriptionNumber,
    slot: Slot,
}

impl StompPhase {
    /// A session that has just begun, in one of these versions.
    pub(crate) fn new(shared: &Shared, versions: &[Version], framing: Framing, deflate: Option<Window>, now_ms: u64) -> Self {
        Self {
            session: StompSession::new(shared.stomp_limits.clone(), versions, beats::offer(&shared.config.stomp)),
            followed: Vec::new(),
            framing,
            deflate,
            beats: Beats::new(&shared.config.stomp, now_ms),
            pending: BytesMut::new(),
            nacks_counted: 0,
        }
    }

    /// Its client is not listened to: it is late with nothing.
    pub(crate) fn excuse(&mut self, now_ms: u64, frame_timeout_ms: u64) {
        self.beats.excuse(now_ms, frame_timeout_ms);
    }

    /// How many more messages its client takes on a subscription.
    pub(crate) fn window(&self, slot: Slot) -> usize {
        self.subscription(slot).map_or(0, |subscription| self.session.window(subscription))
    }

    /// Notes which messages were sent on a subscription, so that they wait for their ACK.
    pub(crate) fn sent(&mut self, slot: Slot, first: Position, count: usize) {
        let Some(subscription) = self.subscription(slot) else { return };
        for offset in (first.offset..).take(count) {
            self.session.message_sent(subscription, Position::new(first.epoch, offset));
        }
    }

    /// Notes that a gap was told on a subscription.
    pub(crate) fn gap_sent(&mut self, slot: Slot, resumed: Position) {
        if let Some(subscription) = self.subscription(slot) {
            self.session.gap_sent(subscription, resumed);
        }
    }

    /// Bytes of memory that unfinished frames and transactions take.
    pub(crate) fn capacity_held(&self) -> usize {
        self.pending.capacity() + self.session.transaction_bytes()
    }

    /// Whether there is input that was taken and not yet acted on.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty() || self.session.has_actions()
    }

    fn subscription(&self, slot: Slot) -> Option<SubscriptionNumber> {
        self.followed.iter().find(|following| following.slot == slot).map(|following| following.subscription)
    }

    fn encoding(&self, form: FormKey) -> Encoding {
        Encoding { deflate: self.deflate, ..Encoding::new(Format::Stomp(form), self.framing) }
    }
}

impl Worker {
    /// Begins a session on a connection over TCP.
    pub(crate) fn open_stomp(&mut self, key: SubscriberKey) {
        let phase = StompPhase::new(&self.shared, &Version::ALL, Framing::Raw, None, self.now_ms());
        self.set_phase(key, Phase::Stomp(Box::new(phase)));
        self.arm_beats(key);
    }

    /// Acts on what came over TCP.
    pub(crate) fn on_stomp(&mut self, key: SubscriberKey, input: &mut BytesMut) -> bool {
        let mut replies = BytesMut::new();
        self.run_stomp(key, input, &mut replies);
        self.reply(key, &mut replies);
        false
    }

    /// Acts on a message that came over a WebSocket; one may hold several frames, or a part of one.
    pub(crate) fn on_stomp_message(&mut self, key: SubscriberKey, data: &[u8], replies: &mut BytesMut) {
        let Some(stomp) = self.stomp(key) else { return };
        stomp.pending.extend_from_slice(data);
        self.go_on_with_stomp(key, replies);
    }

    /// Acts on what WebSocket messages brought, as far as there is room for the answers.
    pub(crate) fn go_on_with_stomp(&mut self, key: SubscriberKey, replies: &mut BytesMut) {
        let Some(stomp) = self.stomp(key) else { return };
        let mut input = std::mem::take(&mut stomp.pending);
        self.run_stomp(key, &mut input, replies);
        if let Some(stomp) = self.stomp(key).filter(|_| !input.is_empty()) {
            stomp.pending = input;
        }
    }

    /// The client sends no more over TCP. One that follows something may still receive.
    pub(crate) fn on_stomp_end(&mut self, key: SubscriberKey) {
        // Whoever was killed looks the same. It can answer for nothing any more, so what it has in hand goes to others.
        self.stop_consuming(key, CloseReason::Vanished);
        let Some(connection) = self.hub.sink(key) else { return };
        connection.half_closed = true;
        if connection.phase.stomp().is_some_and(|stomp| stomp.followed.is_empty()) {
            self.finish(key, Bytes::new(), CloseReason::Client, self.linger_ms());
        }
    }

    /// The ERROR that a connection over TCP gets at its end.
    pub(crate) fn stomp_farewell(&mut self, key: SubscriberKey, why: &Disconnect) -> Bytes {
        let reconnect_ms = self.reconnect_ms();
        let mut last = BytesMut::new();
        if let Some(stomp) = self.stomp(key) {
            stomp.session.goodbye(why, reconnect_ms);
            self.say_waiting(key, &mut last);
        }
        last.freeze()
    }

    /// The session of a connection that speaks STOMP, whatever carries it.
    pub(super) fn stomp(&mut self, key: SubscriberKey) -> Option<&mut StompPhase> {
        self.hub.sink(key)?.phase.stomp_mut()
    }

    /// Does what the session asks for, as far as the input goes and there is room for the answers.
    fn run_stomp(&mut self, key: SubscriberKey, input: &mut BytesMut, replies: &mut BytesMut) {
        let own_max = self.shared.config.delivery.outbox_bytes_max.as_usize() / 2;
        let now_ms = self.now_ms();
        if let Some(stomp) = self.stomp(key) {
            stomp.beats.heard(now_ms);
        }
        // What was sent behind a publication that waits is acted on once it is there.
        while !self.is_held(key) {
            // Answers that are not taken hold back the questions; what was asked already is done.
            let full = self.hub.waiting_bytes(key) > own_max || self.is_paused(key);
            let Some(stomp) = self.stomp(key) else { break };
            let action = if full { stomp.session.poll(&mut BytesMut::new()) } else { stomp.session.poll(input) };
            let Some(action) = action else { break };
            self.act(key, action, replies);
            if replies.len() > own_max {
                self.reply(key, replies);
            }
        }
        self.count_nacks(key);
        self.note_progress(key, now_ms);
    }

    fn count_nacks(&mut self, key: SubscriberKey) {
        let Some(stomp) = self.stomp(key) else { return };
        let nacks = stomp.session.nacked();
        let before = std::mem::replace(&mut stomp.nacks_counted, nacks);
        if nacks > before {
            self.metrics.nacks(nacks - before);
        }
    }

    fn act(&mut self, key: SubscriberKey, action: Action, replies: &mut BytesMut) {
        match action {
            Action::Connect(connect) => self.accept_stomp(key, &connect),
            Action::Publish { publishes, receipt } => self.publish_stomp(key, publishes, receipt),
            Action::Subscribe { subscription, channel, start, form, receipt } => {
                self.subscribe_stomp(key, subscription, &channel, &start, &form, receipt.as_ref(), replies);
            }
            Action::Enqueue { queue, drafts, receipt } => self.enqueue_stomp(key, &queue, drafts, receipt.as_ref()),
            Action::Consume { subscription, queue, window, form, receipt } => {
                self.consume_stomp(key, subscription, queue, window, form, receipt.as_ref());
            }
            Action::Answer { subscription, queue, numbers, verdict } => self.answer_stomp(key, subscription, &queue, &numbers, verdict),
            Action::Cancel { subscription, queue } => self.cancel_stomp(key, subscription, &queue),
            Action::Unsubscribe { subscription, .. } => self.unsubscribe_stomp(key, subscription),
            Action::WindowOpened { subscription } => self.open_window(key, subscription),
            Action::Reply(frame) => self.say_frame(key, &frame, replies),
            Action::Close { fault } => self.end_stomp(key, fault, replies),
        }
    }

    /// Lets a client in. There are no virtual hosts: whatever `host` says is this server, as STOMP 1.2, "CONNECT", allows.
    fn accept_stomp(&mut self, key: SubscriberKey, connect: &Connect) {
        let now_ms = self.now_ms();
        let index = self.index();
        let Some(connection) = self.hub.sink(key) else { return };
        let session = format!("{index}-{key}-{}", connection.generation);
        let Some(stomp) = connection.phase.stomp_mut() else { return };
        stomp.session.accept(SERVER, &session);
        stomp.beats.agreed(connect.heart_beat, now_ms);
        self.arm_beats(key);
    }

    /// The session has ended: what is still owed goes out, the ERROR with it, and the connection lingers until the client hangs up.
    fn end_stomp(&mut self, key: SubscriberKey, fault: Option<&'static str>, replies: &mut BytesMut) {
        let Some(stomp) = self.stomp(key) else { return };
        let is_websocket = stomp.framing == Framing::WebSocket;
        self.hub.unsubscribe_all(key);
        let reason = match fault {
            None => CloseReason::Client,
            Some("heart-beat-missed" | "connect-timeout" | "frame-timeout") => CloseReason::Silent,
            Some(_) => CloseReason::Fault,
        };
        if let Some(fault) = fault {
            self.metrics.fault(fault);
        }
        if is_websocket {
            write_close(replies, if fault.is_some() { close::PROTOCOL_ERROR } else { close::NORMAL }, fault.unwrap_or_default());
        }
        let linger_ms = self.linger_ms();
        self.finish(key, replies.split().freeze(), reason, linger_ms);
    }

    /// Writes down what the session has to say, and nothing else of what it may ask for.
    fn say_waiting(&mut self, key: SubscriberKey, replies: &mut BytesMut) {
        while let Some(Action::Reply(frame)) = self.stomp(key).and_then(|stomp| stomp.session.poll(&mut BytesMut::new())) {
            self.say_frame(key, &frame, replies);
        }
    }

    /// Writes a frame of the session's own as its transport carries it.
    fn say_frame(&mut self, key: SubscriberKey, frame: &[u8], replies: &mut BytesMut) {
        let Some(stomp) = self.stomp(key) else { return };
        let (framing, deflate) = (stomp.framing, stomp.deflate);
        match framing {
            // Its headers are text, and so is the body of an ERROR.
            Framing::WebSocket => self.hub.encoder().message(deflate, Opcode::Text, frame, replies),
            Framing::Raw | Framing::Chunked | Framing::Datagram => replies.extend_from_slice(frame),
        }
    }

    fn linger_ms(&self) -> u64 {
        self.shared.config.stomp.linger.as_millis()
    }
}

/// What CONNECTED calls this server: name, slash, version (STOMP 1.2, "CONNECTED").
const SERVER: &str = concat!("bongsu/", env!("CARGO_PKG_VERSION"));
