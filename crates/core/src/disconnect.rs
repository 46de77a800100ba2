//! Why the server ends a connection, and the one table that says what each client is told then.

use bytes::BytesMut;

use crate::format::json::write_gap;
use crate::name::ChannelName;
use crate::position::Position;
use crate::start::Gap;

/// Why the server ends a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disconnect {
    /// The server is about to stop.
    Shutdown,
    /// The server has more connections or work than its limits allow.
    Overloaded,
    /// What the client published had to wait for subscribers that are behind, and waited for too long. It was not published.
    Held,
    /// The server met a fault of its own.
    Internal,
    /// The client reads more slowly than its channel's limits on lag allow, or leaves its replies unread.
    Slow {
        /// Where the client can resume, for a connection that follows one channel.
        cursor: Option<Position>,
    },
    /// A gap on a connection whose format has no room to say it.
    Gap {
        /// The channel with the gap.
        channel: ChannelName,
        /// The gap.
        gap: Gap,
    },
    /// A ping was not answered in time.
    PingTimeout,
    /// Nothing was sent for longer than the connection may be silent.
    IdleTimeout,
    /// The client's permission has run out.
    Expired,
    /// A message over the limit.
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The client broke its protocol.
    ProtocolFault {
        /// The close code that the protocol gives the fault, such as 1002 or 1007.
        code: u16,
        /// What was wrong.
        reason: String,
    },
}

/// What a client is told when its connection ends. Also a WebSocket's close frame and the native `bye`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goodbye {
    /// A WebSocket close code: 1000 to 2999 as the standard has them, 4000 to 4999 our own.
    pub code: u16,
    /// One line of at most [`REASON_BYTES_MAX`] bytes; JSON where a program needs what is in it.
    pub reason: String,
    /// Whether the same client should come back and try again.
    pub reconnect: bool,
}

/// The longest reason that fits a WebSocket close frame.
pub const REASON_BYTES_MAX: usize = 123;

impl Disconnect {
    /// The table: what the client is told.
    pub fn goodbye(&self) -> Goodbye {
        match self {
            Self::Shutdown => Goodbye::new(1001, "the server is shutting down; come back from your cursor", true),
            Self::Overloaded => Goodbye::new(1013, "the server is at its limits; come back later", true),
            Self::Held => Goodbye::new(1013, "subscribers are behind, and the last payload was not published; come back later", true),
            Self::Internal => Goodbye::new(1011, "the server met a fault of its own; come back from your cursor", true),
            Self::Slow { cursor } => Goodbye::new(4008, slow_reason(*cursor), true),
            Self::Gap { gap, .. } => Goodbye::new(4009, gap_reason(gap), true),
            Self::PingTimeout => Goodbye::new(4002, "no answer to a ping in time", true),
            Self::IdleTimeout => Goodbye::new(4003, "nothing was sent for too long; ping to stay", true),
            Self::Expired => Goodbye::new(4001, "the permission has expired; come back with a new one", true),
            Self::TooLarge { max } => Goodbye::new(1009, format!("a message over the limit of {max} bytes"), false),
            Self::ProtocolFault { code, reason } => Goodbye::new(*code, reason.as_str(), false),
        }
    }

    /// One word for logs and metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Overloaded => "overloaded",
            Self::Held => "held",
            Self::Internal => "internal",
            Self::Slow { .. } => "slow",
            Self::Gap { .. } => "gap",
            Self::PingTimeout => "ping-timeout",
            Self::IdleTimeout => "idle-timeout",
            Self::Expired => "expired",
            Self::TooLarge { .. } => "too-large",
            Self::ProtocolFault { .. } => "protocol-fault",
        }
    }
}

impl Goodbye {
    /// A goodbye whose reason is one line and cut, at a character, to what a close frame holds.
    pub fn new(code: u16, reason: impl Into<String>, reconnect: bool) -> Self {
        let mut reason: String = reason.into();
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        if reason.contains(char::is_control) {
            reason = reason.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        }
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        Self { code, reason, reconnect }
    }
}

fn slow_reason(cursor: Option<Position>) -> String {
    match cursor {
        Some(cursor) => format!(r#"{{"cursor":"{cursor}","reason":"slow"}}"#),
        None => r#"{"reason":"slow"}"#.to_owned(),
    }
}

/// The gap as JSON; the asked cursor, which the client knows, is left out where it would not fit.
fn gap_reason(gap: &Gap) -> String {
    let mut text = BytesMut::new();
    write_gap(None, gap, &mut text);
    match String::from_utf8(text.into()) {
        Ok(text) if text.len() <= REASON_BYTES_MAX => text,
        _ => format!(r#"{{"resumed":"{}","reason":"{}"}}"#, gap.resumed, gap.reason.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Cursor, Epoch};
    use crate::start::GapReason;

    fn gap(asked: &str, offset: u64) -> Disconnect {
        Disconnect::Gap {
            channel: ChannelName::parse("a").expect("a name"),
            gap: Gap {
                asked: Cursor::parse(asked).expect("a cursor"),
                resumed: Position::new(Epoch::from_bits(1), offset),
                reason: GapReason::Trimmed,
            },
        }
    }

    #[test]
    fn a_gap_is_the_reason() {
        let goodbye = gap("e-1", 7).goodbye();
        assert_eq!(goodbye.code, 4009);
        assert_eq!(goodbye.reason, r#"{"asked":"e-1","resumed":"00000000001-7","reason":"trimmed"}"#);
    }

    #[test]
    fn the_longest_cursors_still_leave_json_that_fits() {
        let longest = format!("{}-{}", "e".repeat(32), "9".repeat(20));
        let goodbye = gap(&longest, u64::MAX).goodbye();
        assert_eq!(goodbye.reason, r#"{"resumed":"00000000001-18446744073709551615","reason":"trimmed"}"#);
        let slow = Disconnect::Slow { cursor: Some(Position::new(Epoch::from_bits(u64::MAX), u64::MAX)) }.goodbye();
        assert_eq!(slow.reason, r#"{"cursor":"LygHa16AHYF-18446744073709551615","reason":"slow"}"#);
    }

    #[test]
    fn a_foreign_reason_is_cut_at_a_character_and_kept_on_one_line() {
        let reason = format!("a\r\nb{}", "봉".repeat(100));
        let goodbye = Disconnect::ProtocolFault { code: 1002, reason }.goodbye();
        assert!(goodbye.reason.starts_with("a??b봉") && goodbye.reason.len() == 121, "{}", goodbye.reason);
        assert!(!goodbye.reconnect);
    }

    #[test]
    fn every_own_reason_fits_uncut() {
        for disconnect in [
            Disconnect::Shutdown,
            Disconnect::Overloaded,
            Disconnect::Held,
            Disconnect::Internal,
            Disconnect::Slow { cursor: None },
            Disconnect::PingTimeout,
            Disconnect::IdleTimeout,
            Disconnect::Expired,
            Disconnect::TooLarge { max: usize::MAX },
        ] {
            let goodbye = disconnect.goodbye();
            assert!(goodbye.reason.len() < REASON_BYTES_MAX && !disconnect.label().is_empty(), "{disconnect:?}");
        }
    }
}
