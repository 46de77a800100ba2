//! The native protocol over a raw TCP socket: a JSON object a line, both ways. A person with `nc` is a client.

use bongsu_core::disconnect::Disconnect;
use bongsu_core::encoding::{Encoding, Framing};
use bongsu_core::format::Format;
use bongsu_core::hub::SubscriberKey;
use bongsu_core::native::{self, PingValue};
use bytes::{Buf, Bytes, BytesMut};

use crate::connection::{Connection, Followed, Phase};
use crate::metrics::CloseReason;
use crate::worker::Worker;

/// A TCP connection that speaks in lines.
#[derive(Default)]
pub(crate) struct Lines {
    /// The channels that it follows.
    pub(crate) followed: Vec<Followed>,
    /// How much of the unread bytes is known to hold no line end.
    searched: usize,
    /// Kept for a client that asked to be asked.
    heartbeat: Option<Box<Heartbeat>>,
    /// When the last line came whole.
    heard_ms: u64,
}

/// Asking a client whether it is there. Only one that asked for it: a person with `nc` answers no pings, and is there all the same.
struct Heartbeat {
    every_ms: u64,
    heard_ms: u64,
    /// Whether a ping is out that nothing was heard since.
    pinged: bool,
    pings: u64,
}

/// A line, or why there is none.
enum Taken {
    Line(BytesMut),
    Unfinished,
    TooLong,
}

impl Lines {
    /// Takes the next line without its end.
    fn take(&mut self, input: &mut BytesMut, line_max: usize) -> Taken {
        let end = memchr::memchr(b'\n', &input[self.searched..]).map(|end| self.searched + end);
        if end.unwrap_or(input.len()) > line_max {
            return Taken::TooLong;
        }
        let Some(end) = end else {
            self.searched = input.len();
            return Taken::Unfinished;
        };
        self.searched = 0;
        let line = input.split_to(end);
        input.advance(1);
        Taken::Line(line)
    }

    /// The client counts as heard now, whatever it was asked.
    pub(crate) fn excuse(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.heard_ms = now_ms;
            heartbeat.pinged = false;
        }
    }
}

impl Worker {
    /// Begins to speak in lines.
    pub(crate) fn open_lines(&mut self, key: SubscriberKey) {
        let heard_ms = self.now_ms();
        self.set_phase(key, Phase::Lines(Box::new(Lines { heard_ms, ..Lines::default() })));
        self.arm(key, heard_ms + self.shared.config.tcp.idle_timeout.as_millis());
    }

    /// Lets go of one that follows nothing and says nothing. Whether one who follows is there, the system probes, or it is asked, if it
    /// wants to be.
    pub(crate) fn on_lines_due(&mut self, key: SubscriberKey, now_ms: u64) {
        let idle_ms = self.shared.config.tcp.idle_timeout.as_millis();
        let Some(Connection { phase: Phase::Lines(lines), .. }) = self.hub.sink(key) else { return };
        if lines.heartbeat.is_some() {
            return self.on_ping_due_in_lines(key, now_ms);
        }
        match lines.heard_ms + idle_ms {
            due_ms if due_ms > now_ms => self.arm(key, due_ms),
            _ if !lines.followed.is_empty() => self.arm(key, now_ms + idle_ms),
            _ => {
                self.metrics.fault("idle-timeout");
                self.disconnect(key, &Disconnect::IdleTimeout);
            }
        }
    }

    /// Acts on the lines that came whole.
    pub(crate) fn on_lines(&mut self, key: SubscriberKey, input: &mut BytesMut) -> bool {
        let own_max = self.shared.config.delivery.outbox_bytes_max.as_usize() / 2;
        let line_max = self.shared.config.tcp.line_bytes_max.as_usize();
        self.on_client_heard(key);
        let mut replies = BytesMut::new();
        let now_ms = self.now_ms();
        while let Some(Connection { phase: Phase::Lines(lines), .. }) = self.hub.sink(key) {
            let taken = lines.take(input, line_max);
            if matches!(taken, Taken::Line(_)) {
                lines.heard_ms = now_ms;
            }
            match taken {
                Taken::Line(line) => self.on_line(key, &line, &mut replies),
                Taken::Unfinished => break,
                Taken::TooLong => self.refuse_line(key, line_max, &mut replies),
            }
            if self.is_held(key) {
                break;
            }
            if replies.len() > own_max {
                self.reply(key, &mut replies);
            }
            // Answers that are not taken hold back the questions.
            if self.hub.waiting_bytes(key) > own_max || self.is_paused(key) {
                break;
            }
        }
        self.reply(key, &mut replies);
        if !matches!(self.hub.sink(key), Some(Connection { phase: Phase::Lines(_), .. })) {
            input.clear();
        }
        false
    }

    fn on_line(&mut self, key: SubscriberKey, line: &[u8], replies: &mut BytesMut) {
        let line = line.trim_ascii();
        let Some(connection) = self.hub.sink(key) else { return };
        if std::mem::take(&mut connection.fresh) && is_http(line) {
            return self.refuse_http(key, replies);
        }
        if !line.is_empty() {
            self.on_native(key, LINE, line, replies);
        }
    }

    /// What a client sent behind its last line end, and then ended its side. A person forgets the last line end, and what is whole
    /// without it is meant: a command that was cut off is no JSON.
    pub(crate) fn on_unended_line(&mut self, key: SubscriberKey, input: &mut BytesMut) {
        if !matches!(self.hub.sink(key), Some(Connection { phase: Phase::Lines(_), .. })) {
            return;
        }
        let line = input.split();
        let mut replies = BytesMut::new();
        self.on_line(key, &line, &mut replies);
        self.reply(key, &mut replies);
    }

    /// The client sends no more, but still receives: its answers, and what it follows. With neither left, our side ends too.
    pub(crate) fn on_lines_end(&mut self, key: SubscriberKey) {
        let waits = self.hub.waiting_bytes(key) > 0;
        let Some(connection) = self.hub.sink(key) else { return };
        let Phase::Lines(lines) = &connection.phase else { return };
        if lines.followed.is_empty() && !waits && connection.held.is_none() {
            connection.half_closed = true;
            let grace_ms = self.shared.config.websocket.close_timeout.as_millis();
            self.finish(key, Bytes::new(), CloseReason::Client, grace_ms);
        } else if !connection.half_closed {
            self.go_on_half_closed(key);
        }
    }

    /// A client asks to be asked whether it is there.
    pub(crate) fn agree_on_pings(
        &mut self,
        key: SubscriberKey,
        encoding: Encoding,
        ping: &PingValue,
        every_ms: u64,
        replies: &mut BytesMut,
    ) {
        let (now_ms, min_ms) = (self.now_ms(), self.shared.config.tcp.ping_every_min.as_millis());
        let refusal = match self.hub.sink(key) {
            Some(Connection { phase: Phase::Lines(_), .. }) if every_ms > 0 && every_ms < min_ms => {
                Some(("ping-too-often", format!("every_ms is at least {min_ms} here, or 0 to be asked no more")))
            }
            Some(Connection { phase: Phase::Lines(lines), .. }) => {
                let heartbeat = Heartbeat { every_ms, heard_ms: now_ms, pinged: false, pings: 0 };
                lines.heartbeat = (every_ms > 0).then(|| Box::new(heartbeat));
                None
            }
            _ => Some(("ping-not-here", "every_ms is for TCP: a WebSocket is pinged by its own frames, so leave it out".to_owned())),
        };
        if let Some((code, message)) = refusal {
            self.metrics.fault(code);
            return self.say(encoding, replies, |out| native::write_error(None, code, &message, out));
        }
        let idle_ms = self.shared.config.tcp.idle_timeout.as_millis();
        self.arm(key, now_ms + if every_ms > 0 { every_ms } else { idle_ms });
        self.say(encoding, replies, |out| native::write_agreed(ping, every_ms, out));
    }

    /// The client said something. If it was asked whether it is there, the wait for its answer gives way to the next silence.
    fn on_client_heard(&mut self, key: SubscriberKey) {
        let now_ms = self.now_ms();
        let Some(Connection { phase: Phase::Lines(lines), .. }) = self.hub.sink(key) else { return };
        let Some(heartbeat) = &mut lines.heartbeat else { return };
        heartbeat.heard_ms = now_ms;
        if std::mem::take(&mut heartbeat.pinged) {
            let due_ms = now_ms + heartbeat.every_ms;
            self.arm(key, due_ms);
        }
    }

    /// Asks a silent client whether it is there, and lets one go that did not answer. Who is blocked is judged by its lag.
    fn on_ping_due_in_lines(&mut self, key: SubscriberKey, now_ms: u64) {
        let timeout_ms = self.shared.config.tcp.ping_timeout.as_millis();
        let drained = self.hub.is_drained(key);
        let Some(Connection { phase: Phase::Lines(lines), half_closed, .. }) = self.hub.sink(key) else { return };
        let Some(heartbeat) = &mut lines.heartbeat else { return };
        // Who has finished sending cannot answer, but a ping to one that is gone shows it all the same.
        let (silent_ms, may_answer) = (now_ms.saturating_sub(heartbeat.heard_ms), !*half_closed);
        if heartbeat.pinged && drained && may_answer {
            return self.disconnect(key, &Disconnect::PingTimeout);
        }
        if (silent_ms < heartbeat.every_ms && may_answer) || !drained {
            let due_ms = now_ms + heartbeat.every_ms.saturating_sub(silent_ms).max(1);
            return self.arm(key, due_ms);
        }
        heartbeat.pinged = may_answer;
        heartbeat.pings += 1;
        let (pings, wait_ms) = (heartbeat.pings, if may_answer { timeout_ms } else { heartbeat.every_ms });
        self.arm(key, now_ms + wait_ms);
        let mut ping = BytesMut::new();
        self.say(LINE, &mut ping, |out| native::write_ping(pings, out));
        self.reply(key, &mut ping);
    }

    /// The last line that a connection gets.
    pub(crate) fn lines_farewell(&mut self, why: &Disconnect) -> Bytes {
        let reconnect_ms = self.reconnect_ms();
        let mut last = BytesMut::new();
        self.hub.encoder().goodbye(LINE, &why.goodbye(), reconnect_ms, &mut last);
        last.freeze()
    }

    fn refuse_line(&mut self, key: SubscriberKey, max: usize, replies: &mut BytesMut) {
        let message = format!("a line of more than {max} bytes; send an object a line");
        self.refuse_all(key, "line-too-long", &message, &Disconnect::TooLarge { max }, replies);
    }

    // A page on the web can have its visitor's browser post to any port. Its head would be lines that are not JSON, but the lines of
    // its body would be commands: whoever begins with a request is not listened to.
    fn refuse_http(&mut self, key: SubscriberKey, replies: &mut BytesMut) {
        let message = "a request of HTTP on the port for lines of JSON; the port for HTTP is another";
        let why = Disconnect::ProtocolFault { code: 1002, reason: message.to_owned() };
        self.refuse_all(key, "http-on-tcp", message, &why, replies);
    }

    /// Says what is wrong with a line, and ends the connection: nothing after it is acted on.
    fn refuse_all(&mut self, key: SubscriberKey, code: &'static str, message: &str, why: &Disconnect, replies: &mut BytesMut) {
        self.metrics.fault(code);
        self.say(LINE, replies, |out| native::write_error(None, code, message, out));
        self.reply(key, replies);
        self.disconnect(key, why);
    }
}

/// Whether a line begins a request of HTTP: it ends with the version.
fn is_http(line: &[u8]) -> bool {
    let version = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let digits = version.strip_prefix(b"HTTP/").unwrap_or(b"?");
    version.len() < line.len() && digits.iter().all(|&byte| byte.is_ascii_digit() || byte == b'.')
}

/// How what is said is written.
const LINE: Encoding = Encoding::new(Format::Json, Framing::Raw);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_from_a_person() {
        for line in ["POST / HTTP/1.1", "GET /a%20b HTTP/1.0", "PRI * HTTP/2.0", " HTTP/1.1"] {
            assert!(is_http(line.as_bytes()), "{line}");
        }
        for line in ["", "HTTP/1.1", "hello?", "GET /", r#"{"ping":"a HTTP/1.1"}"#, r#"{"publish":"a","data":"GET / HTTP/1.1"}"#] {
            assert!(!is_http(line.as_bytes()), "{line}");
        }
    }
}
