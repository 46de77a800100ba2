//! The native protocol over a raw TCP socket: a JSON object a line, both ways. A person with `nc` is a client.

use bongsu_core::disconnect::Disconnect;
use bongsu_core::encoding::{Encoding, Framing};
use bongsu_core::format::Format;
use bongsu_core::hub::SubscriberKey;
use bongsu_core::native;
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
    /// When the last line came whole.
    heard_ms: u64,
}

impl Worker {
    /// Begins to speak in lines.
    pub(crate) fn open_lines(&mut self, key: SubscriberKey) {
        let heard_ms = self.now_ms();
        self.set_phase(key, Phase::Lines(Box::new(Lines { heard_ms, ..Lines::default() })));
        self.arm(key, heard_ms + self.shared.config.tcp.idle_timeout.as_millis());
    }

    /// Lets go of one that follows nothing and says nothing. Whether one who follows is there, the system probes.
    pub(crate) fn on_lines_due(&mut self, key: SubscriberKey, now_ms: u64) {
        let idle_ms = self.shared.config.tcp.idle_timeout.as_millis();
        let Some(Connection { phase: Phase::Lines(lines), .. }) = self.hub.sink(key) else { return };
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
        let mut replies = BytesMut::new();
        let now_ms = self.now_ms();
        while let Some(Connection { phase: Phase::Lines(lines), .. }) = self.hub.sink(key) {
            let Some(end) = memchr::memchr(b'\n', &input[lines.searched..]).map(|end| lines.searched + end) else {
                lines.searched = input.len();
                if input.len() > line_max {
                    self.refuse_line(key, line_max, &mut replies);
                    input.clear();
                }
                break;
            };
            lines.searched = 0;
            lines.heard_ms = now_ms;
            if end > line_max {
                self.refuse_line(key, line_max, &mut replies);
                input.clear();
                break;
            }
            let line = input.split_to(end);
            input.advance(1);
            let line = line.trim_ascii();
            if is_http(line) {
                self.refuse_http(key, &mut replies);
                input.clear();
                break;
            }
            if !line.is_empty() {
                self.on_native(key, Encoding::new(Format::Json, Framing::Raw), line, &mut replies);
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
        false
    }

    /// The client sends no more, but still receives what it follows.
    pub(crate) fn on_lines_end(&mut self, key: SubscriberKey) {
        let Some(connection) = self.hub.sink(key) else { return };
        // Its reader has ended, and nothing starts it again: a peer that is gone shows when something is written, or is probed.
        connection.half_closed = true;
        let Phase::Lines(lines) = &connection.phase else { return };
        if lines.followed.is_empty() {
            let grace_ms = self.shared.config.websocket.close_timeout.as_millis();
            self.finish(key, Bytes::new(), CloseReason::Client, grace_ms);
        }
    }

    /// The last line that a connection gets.
    pub(crate) fn lines_farewell(&mut self, why: &Disconnect) -> Bytes {
        let reconnect_ms = self.reconnect_ms();
        let mut last = BytesMut::new();
        self.hub.encoder().goodbye(Encoding::new(Format::Json, Framing::Raw), &why.goodbye(), reconnect_ms, &mut last);
        last.freeze()
    }

    /// A page on the web can have its visitor's browser send a request here, with lines of our protocol in its body.
    fn refuse_http(&mut self, key: SubscriberKey, replies: &mut BytesMut) {
        self.metrics.fault("http-not-spoken");
        let reason = "this is HTTP, and here an object a line is spoken; HTTP has an address of its own (listen.http)".to_owned();
        native::write_error(None, "http-not-spoken", &reason, replies);
        replies.extend_from_slice(b"\n");
        self.reply(key, replies);
        self.disconnect(key, &Disconnect::ProtocolFault { code: 1008, reason });
    }

    fn refuse_line(&mut self, key: SubscriberKey, max: usize, replies: &mut BytesMut) {
        self.metrics.fault("line-too-long");
        native::write_error(None, "line-too-long", &format!("a line of more than {max} bytes; send an object a line"), replies);
        replies.extend_from_slice(b"\n");
        self.reply(key, replies);
        self.disconnect(key, &Disconnect::TooLarge { max });
    }
}

/// Whether a line is the first of an HTTP request, which no object ends like.
fn is_http(line: &[u8]) -> bool {
    [&b" HTTP/1.1"[..], b" HTTP/1.0", b" HTTP/2.0"].iter().any(|end| line.ends_with(end))
}
