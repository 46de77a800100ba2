//! What a session says to its client: CONNECTED, RECEIPT, and the one ERROR that ends it.

use bytes::BytesMut;

use super::{Action, Receipt, State, StompSession};
use crate::disconnect::Disconnect;
use crate::position::{Cursor, Position};
use crate::stomp::Version;
use crate::stomp::connect::Connect;
use crate::stomp::encode::HeadWriter;
use crate::stomp::fault::{StompFault, quote};
use crate::stomp::frame::{Frame, FrameCommand};
use crate::stomp::transaction::Transactions;

impl StompSession {
    /// Lets the client in that asked to connect: `server` is our name and version, `session` what our log calls the connection.
    pub fn accept(&mut self, server: &str, session: &str) {
        let State::Connecting(Connect { version, .. }) = self.state else { return };
        self.decoder.set_version(version);
        let offer = self.heart_beat;
        self.reply(version, FrameCommand::Connected, |mut head| {
            head.header("version", version.as_str());
            if version > Version::V1_0 {
                head.header("heart-beat", &format!("{},{}", offer.send_ms, offer.expect_ms));
            }
            head.header("server", server);
            head.header("session", session);
            head.body(b"");
        });
        self.state = State::Connected(version);
    }

    /// Refuses what the last action asked for: an ERROR, and the connection ends.
    pub fn refuse(&mut self, receipt: Option<&Receipt>, code: &'static str, message: impl Into<String>) {
        let fault = StompFault::Refused { code, message: message.into() };
        self.fail_with(&fault, receipt.map(|receipt| &*receipt.0), None);
    }

    /// Says that a publish was done. The position is told where there was one publication.
    pub fn published(&mut self, receipt: Option<&Receipt>, position: Option<Position>) {
        let position = position.map(|position| position.to_string());
        self.receipt(receipt, position.as_deref().map(|position| ("position", position)));
    }

    /// Says that a subscription was opened, and where it starts.
    pub fn subscribed(&mut self, receipt: Option<&Receipt>, cursor: &Cursor) {
        self.receipt(receipt, Some(("cursor", cursor.as_str())));
    }

    /// Ends the session because nothing came for longer than was agreed.
    pub fn handle_silence(&mut self, expect_ms: u64) {
        self.fail(&StompFault::HeartBeatMissed { expect_ms }, None);
    }

    /// Ends the session on the server's side: STOMP has only ERROR to say it with. `reconnect-ms` tells when to come back, and
    /// `cursor`, where it is known, from where.
    pub fn goodbye(&mut self, why: &Disconnect, reconnect_ms: u64) {
        if matches!(self.state, State::Ended) {
            return;
        }
        let goodbye = why.goodbye();
        // The reason for a close frame has no room for more than the cursor, which is a header here.
        let message = if let Disconnect::Slow { .. } = why { SLOW.to_owned() } else { goodbye.reason };
        let version = self.version().unwrap_or(Version::V1_0);
        self.reply(version, FrameCommand::Error, |mut head| {
            head.header("message", &message);
            head.header("code", why.label());
            if let Disconnect::Slow { cursor: Some(cursor) } = why {
                head.plain("cursor", |out| cursor.write_to(out));
            }
            if goodbye.reconnect {
                head.number("reconnect-ms", usize::try_from(reconnect_ms).unwrap_or(usize::MAX));
            }
            head.body(b"");
        });
        self.end(None);
    }

    pub(super) fn receipt(&mut self, receipt: Option<&Receipt>, place: Option<(&str, &str)>) {
        let (Some(receipt), State::Connected(version)) = (receipt, &self.state) else { return };
        self.reply(*version, FrameCommand::Receipt, |mut head| {
            head.header("receipt-id", &receipt.0);
            if let Some((name, position)) = place {
                head.header(name, position);
            }
            head.body(b"");
        });
    }

    fn reply(&mut self, version: Version, command: FrameCommand, write: impl FnOnce(HeadWriter<'_>)) {
        let mut out = BytesMut::new();
        write(HeadWriter::new(version, command, &mut out));
        self.actions.push_back(Action::Reply(out.freeze()));
    }

    pub(super) fn fail(&mut self, fault: &StompFault, frame: Option<&Frame>) {
        let receipt = frame.and_then(|frame| frame.get("receipt")).filter(|id| id.len() <= self.limits.id_bytes_max);
        self.fail_with(fault, receipt, frame);
    }

    /// Says what is wrong, quotes it, and ends the session.
    fn fail_with(&mut self, fault: &StompFault, receipt: Option<&str>, frame: Option<&Frame>) {
        if matches!(self.state, State::Ended) {
            return;
        }
        let message = fault.to_string();
        let body = frame.map_or_else(|| message.clone(), |frame| format!("{message}\n\nThe frame:\n-----\n{}-----\n", quote_frame(frame)));
        // Before a version is agreed, nothing that any version would take for an escape.
        let version = self.version().unwrap_or(Version::V1_0);
        let message = if version == Version::V1_0 { message.replace('\\', "/") } else { message };
        let versions = self.versions.iter().map(|version| version.as_str()).collect::<Vec<_>>().join(",");
        self.reply(version, FrameCommand::Error, |mut head| {
            head.header("message", &message);
            head.header("code", fault.code());
            if let Some(receipt) = receipt {
                head.header("receipt-id", receipt);
            }
            if matches!(fault, StompFault::VersionNotSupported { .. }) {
                head.header("version", &versions);
            }
            head.header("content-type", "text/plain");
            head.number("content-length", body.len());
            head.body(body.as_bytes());
        });
        self.end(Some(fault.code()));
    }

    pub(super) fn end(&mut self, fault: Option<&'static str>) {
        self.actions.push_back(Action::Close { fault });
        self.transactions = Transactions::default();
        self.numbers.clear();
        self.subscriptions.clear();
        self.state = State::Ended;
    }
}

/// The head of a frame as it was understood, and how long its body was; without what proves who the client is.
fn quote_frame(frame: &Frame) -> String {
    let mut text = format!("{}\n", frame.command.as_str());
    for (name, value) in frame.headers.iter().take(QUOTE_HEADERS_MAX) {
        let value = if &**name == "passcode" { "…" } else { &quote(value.as_bytes()) };
        text.push_str(&format!("{}:{value}\n", quote(name.as_bytes())));
    }
    match frame.body.len() {
        0 => text,
        len => text + &format!("\n({len} bytes)\n"),
    }
}

const QUOTE_HEADERS_MAX: usize = 16;
const SLOW: &str = "messages are taken too slowly; come back from your cursor";
