//! Commands of the native protocol, whatever carried them: lines over TCP, or messages over a WebSocket.

use bongsu_core::directory::PublishFault;
use bongsu_core::encoding::{Encoding, Framing};
use bongsu_core::hub::SubscriberKey;
use bongsu_core::idempotency::IdempotencyKey;
use bongsu_core::native::{self, Command};
use bongsu_core::{ChannelName, Start};
use bytes::BytesMut;

use super::publish::publish_problem;
use crate::connection::{Connection, Followed, Phase};
use crate::metrics::TransportKind;
use crate::pacing::TooFast;
use crate::worker::Worker;
use crate::worker::held::{Pending, Then};

impl Worker {
    /// Acts on a native command, whatever carried it.
    pub(crate) fn on_native(&mut self, key: SubscriberKey, encoding: Encoding, data: &[u8], replies: &mut BytesMut) {
        let command = native::decode(data, &self.shared.native_limits);
        let kind = if encoding.framing == Framing::Raw { TransportKind::Tcp } else { TransportKind::Native };
        match command {
            Ok(Command::Publish { channel, draft, idempotency_key, id }) => {
                if let Err(TooFast { wait_ms }) = self.charge(key, data.len()) {
                    self.metrics.fault(TooFast::CODE);
                    self.say(encoding, replies, |out| native::write_too_fast(id.as_ref(), TooFast::CODE, wait_ms, out));
                    return self.pause(key, wait_ms);
                }
                let idempotency = idempotency_key.map(|key| IdempotencyKey::anonymous(&key));
                let then = Then::Reply { id, encoding };
                self.publish_patiently(key, Pending { kind, channel, draft, idempotency, following: Vec::new(), then }, replies);
            }
            Ok(Command::Subscribe { channel, start, id }) => self.subscribe_native(key, encoding, &channel, &start, id.as_ref(), replies),
            Ok(Command::Unsubscribe { channel, id }) => self.unsubscribe_native(key, encoding, &channel, id.as_ref(), replies),
            Ok(Command::Ping(value)) => self.say(encoding, replies, |out| native::write_pong(&value, out)),
            Ok(Command::Heartbeat { ping, every_ms }) => self.agree_on_pings(key, encoding, &ping, every_ms, replies),
            Ok(Command::Pong) => (),
            Err(fault) => {
                self.metrics.fault(fault.kind.code());
                self.say(encoding, replies, |out| native::write_fault(&fault, out));
            }
        }
    }

    fn subscribe_native(
        &mut self,
        key: SubscriberKey,
        encoding: Encoding,
        channel: &ChannelName,
        start: &Start,
        id: Option<&native::Id>,
        replies: &mut BytesMut,
    ) {
        let config = &self.shared.config;
        let max = if encoding.framing == Framing::Raw { config.tcp.subscriptions_max } else { config.websocket.subscriptions_max };
        let refusal = match self.followed(key) {
            Some(followed) if followed.iter().any(|followed| followed.name == *channel) => Some((
                "already-subscribed",
                format!("{channel} is already followed on this connection; unsubscribe first to start elsewhere"),
            )),
            Some(followed) if followed.len() >= max => {
                Some(("too-many-subscriptions", format!("a connection may follow {max} channels; unsubscribe from one, or open another")))
            }
            _ if channel.is_reserved() => Some(("reserved-channel", publish_problem(PublishFault::Reserved).detail)),
            _ => None,
        };
        if let Some((code, message)) = refusal {
            self.metrics.fault(code);
            return self.say(encoding, replies, |out| native::write_error(id, code, &message, out));
        }
        let (channel_key, located) = self.join(channel, start);
        self.say(encoding, replies, |out| native::write_subscribed(id, channel, &located.told(), out));
        if let Some(gap) = &located.gap {
            self.metrics.gap(gap.reason);
            self.hub.encoder().gap(encoding, channel, gap, None, replies);
        }
        // The answer goes before what it announces.
        self.reply(key, replies);
        let slot = self.hub.subscribe(key, channel_key, encoding, located.cursor.offset);
        if let Some(followed) = self.followed(key) {
            followed.push(Followed { name: channel.clone(), slot });
        }
        self.pump(key);
    }

    fn unsubscribe_native(
        &mut self,
        key: SubscriberKey,
        encoding: Encoding,
        channel: &ChannelName,
        id: Option<&native::Id>,
        replies: &mut BytesMut,
    ) {
        let place = self.followed(key).and_then(|followed| followed.iter().position(|followed| followed.name == *channel));
        let Some(place) = place else {
            self.metrics.fault("not-subscribed");
            let message = format!("{channel} is not followed on this connection");
            return self.say(encoding, replies, |out| native::write_error(id, "not-subscribed", &message, out));
        };
        if let Some(Followed { slot, .. }) = self.followed(key).map(|followed| followed.swap_remove(place)) {
            self.hub.unsubscribe(key, slot);
        }
        self.say(encoding, replies, |out| native::write_done(id, out));
    }

    pub(super) fn followed(&mut self, key: SubscriberKey) -> Option<&mut Vec<Followed>> {
        match self.hub.sink(key) {
            Some(Connection { phase: Phase::Lines(lines), .. }) => Some(&mut lines.followed),
            Some(Connection { phase: Phase::WebSocket(websocket), .. }) => websocket.followed_mut(),
            _ => None,
        }
    }

    /// Writes an answer as its transport frames it: a message, or a line.
    pub(crate) fn say(&self, encoding: Encoding, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        self.hub.encoder().frame(encoding, out, |out| {
            write(out);
            out.extend_from_slice(b"\n");
        });
    }

    pub(crate) fn reply(&mut self, key: SubscriberKey, replies: &mut BytesMut) {
        if !replies.is_empty() {
            self.send(key, replies.split().freeze());
        }
    }
}
