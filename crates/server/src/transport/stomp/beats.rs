//! A STOMP connection and time: heart-beats both ways, a CONNECT that must come, a frame that must end.

use bongsu_core::encoding::Framing;
use bongsu_core::hub::SubscriberKey;
use bongsu_core::stomp::{HEART_BEAT, HeartBeat, HeartBeatOffer};
use bytes::{Bytes, BytesMut};

use crate::config::Stomp;
use crate::worker::Worker;

/// When a connection must say something, and when its client must have.
#[derive(Debug)]
pub(super) struct Beats {
    agreed: HeartBeat,
    /// When the server says something next.
    send_at_ms: u64,
    /// When the client was heard last.
    heard_ms: u64,
    /// Until when CONNECT must be there.
    connect_by_ms: Option<u64>,
    /// Until when the frame that was begun must be there.
    frame_by_ms: Option<u64>,
}

/// What a client is late with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    Connect,
    Frame,
    HeartBeat { expect_ms: u64 },
}

/// The heart-beats that the server offers.
pub(super) fn offer(config: &Stomp) -> HeartBeatOffer {
    HeartBeatOffer { send_ms: config.heartbeat_send.as_millis(), expect_ms: config.heartbeat_expect.as_millis() }
}

impl Beats {
    pub(super) fn new(config: &Stomp, now_ms: u64) -> Self {
        let connect_by_ms = Some(now_ms + config.connect_timeout.as_millis());
        Self { agreed: HeartBeat::default(), send_at_ms: u64::MAX, heard_ms: now_ms, connect_by_ms, frame_by_ms: None }
    }

    /// The client has connected, and this was agreed.
    pub(super) fn agreed(&mut self, agreed: HeartBeat, now_ms: u64) {
        self.agreed = agreed;
        self.connect_by_ms = None;
        self.heard_ms = now_ms;
        self.beat(now_ms);
    }

    /// The client was heard.
    pub(super) fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// The client is not listened to: it counts as heard now, and a frame that was begun has its whole time from now on.
    pub(super) fn excuse(&mut self, now_ms: u64, frame_timeout_ms: u64) {
        self.heard(now_ms);
        self.frame_by_ms = self.frame_by_ms.map(|_| now_ms + frame_timeout_ms);
    }

    /// When to look again.
    pub(super) fn due_ms(&self) -> u64 {
        let silent = self.agreed.expect_ms.map(|expect_ms| self.heard_ms + patience_ms(expect_ms));
        [self.connect_by_ms, self.frame_by_ms, silent].into_iter().flatten().fold(self.send_at_ms, u64::min)
    }

    fn late(&self, now_ms: u64) -> Option<Late> {
        let passed = |by_ms: Option<u64>| by_ms.is_some_and(|by_ms| by_ms <= now_ms);
        match self.agreed.expect_ms {
            _ if passed(self.connect_by_ms) => Some(Late::Connect),
            _ if passed(self.frame_by_ms) => Some(Late::Frame),
            Some(expect_ms) if self.heard_ms + patience_ms(expect_ms) <= now_ms => Some(Late::HeartBeat { expect_ms }),
            _ => None,
        }
    }

    /// The server says something now; when next. A fifth early, so that it is there in time.
    fn beat(&mut self, now_ms: u64) {
        self.send_at_ms = self.agreed.send_ms.map_or(u64::MAX, |send_ms| now_ms + (send_ms - send_ms / 5).max(1));
    }
}

impl Worker {
    /// Has the connection looked at when something is due.
    pub(super) fn arm_beats(&mut self, key: SubscriberKey) {
        let Some(stomp) = self.stomp(key) else { return };
        let (due_ms, framing) = (stomp.beats.due_ms(), stomp.framing);
        match framing {
            Framing::WebSocket => self.arm_websocket(key),
            Framing::Raw | Framing::Chunked | Framing::Datagram => self.arm(key, due_ms),
        }
    }

    /// When a connection's session is due; never, if it speaks something else.
    pub(crate) fn beats_due_ms(&mut self, key: SubscriberKey) -> u64 {
        self.stomp(key).map_or(u64::MAX, |stomp| stomp.beats.due_ms())
    }

    /// Something is due: the client is late, or is owed a heart-beat.
    pub(crate) fn on_stomp_due(&mut self, key: SubscriberKey, now_ms: u64) {
        let drained = self.hub.is_drained(key);
        let Some(stomp) = self.stomp(key) else { return };
        let mut replies = BytesMut::new();
        match stomp.beats.late(now_ms) {
            Some(late) => {
                match late {
                    Late::Connect => stomp.session.refuse(None, "connect-timeout", "no CONNECT came in time; connect first, at once"),
                    Late::Frame => stomp.session.refuse(None, "frame-timeout", "the frame did not end in time; a NUL ends a frame"),
                    Late::HeartBeat { expect_ms } => stomp.session.handle_silence(expect_ms),
                }
                return self.run_stomp(key, &mut BytesMut::new(), &mut replies);
            }
            None if stomp.beats.send_at_ms <= now_ms => {
                stomp.beats.beat(now_ms);
                // Whoever has something to read already needs no sign of life.
                if drained {
                    self.say_frame(key, HEART_BEAT, &mut replies);
                    self.send(key, Bytes::from(replies));
                }
            }
            None => (),
        }
        self.arm_beats(key);
    }

    /// Notes, after input, whether a frame has begun that is to end in time.
    pub(super) fn note_progress(&mut self, key: SubscriberKey, now_ms: u64) {
        let frame_timeout_ms = self.shared.config.stomp.frame_timeout.as_millis();
        // Who waits for room is not late.
        let waits = self.hub.waiting_bytes(key) > 0;
        let Some(stomp) = self.stomp(key) else { return };
        if !stomp.session.is_within_frame() || waits {
            stomp.beats.frame_by_ms = None;
        } else if stomp.beats.frame_by_ms.is_none() {
            stomp.beats.frame_by_ms = Some(now_ms + frame_timeout_ms);
            self.arm_beats(key);
        }
    }
}

/// How long a silence is borne: STOMP 1.2, "Heart-beating", asks for a margin of error.
fn patience_ms(expect_ms: u64) -> u64 {
    expect_ms * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beats(send_ms: Option<u64>, expect_ms: Option<u64>) -> Beats {
        let mut beats = Beats::new(&Stomp::default(), 0);
        beats.agreed(HeartBeat { send_ms, expect_ms }, 1_000);
        beats
    }

    #[test]
    fn connect_must_come_in_time() {
        let beats = Beats::new(&Stomp::default(), 0);
        assert_eq!((beats.due_ms(), beats.late(9_999), beats.late(10_000)), (10_000, None, Some(Late::Connect)));
    }

    #[test]
    fn silence_is_borne_twice_as_long_as_agreed() {
        let mut beats = beats(None, Some(500));
        assert_eq!((beats.due_ms(), beats.late(1_999)), (2_000, None));
        beats.heard(1_900);
        assert_eq!(beats.late(2_899), None);
        assert_eq!(beats.late(2_900), Some(Late::HeartBeat { expect_ms: 500 }));
    }

    #[test]
    fn a_heart_beat_leaves_early() {
        let beats = beats(Some(1_000), None);
        assert_eq!((beats.due_ms(), beats.late(u64::MAX)), (1_800, None));
    }
}
