//! Closing: the codes, which of them may cross the wire, and the payload of a close frame.

use super::{Message, WebSocketFault};

/// Done as planned.
pub const NORMAL: u16 = 1000;
/// The server goes down, or the page is left.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A kind of data that is not taken here.
pub const UNSUPPORTED: u16 = 1003;
/// Stands for "no code was given"; never on the wire.
pub const NO_CODE: u16 = 1005;
/// Stands for "lost without a close frame"; never on the wire.
pub const ABNORMAL: u16 = 1006;
/// Data that does not fit its type, such as text that is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;
/// The peer broke a rule of ours that has no code of its own.
pub const POLICY: u16 = 1008;
/// A message that is too big.
pub const TOO_BIG: u16 = 1009;
/// The server met something unforeseen.
pub const INTERNAL: u16 = 1011;
/// The server restarts: come back soon.
pub const RESTART: u16 = 1012;
/// The server is overloaded: come back later.
pub const TRY_LATER: u16 = 1013;

/// The longest reason, in bytes: what a control frame holds beside the code.
pub const REASON_BYTES_MAX: usize = 123;

/// Why a connection closes, as told by the end that closes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// The code.
    pub code: u16,
    /// A sentence for people; often empty.
    pub reason: String,
}

/// Whether a code may stand in a close frame.
///
/// RFC 6455, 7.4.1 and 7.4.2, with 1012 to 1014 from IANA's "WebSocket Close Code Number Registry". 1004 is reserved; 1005,
/// 1006 and 1015 only ever stand for what happened; 1016 to 2999 belong to later versions and extensions.
pub fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The longest start of a reason that fits a close frame and ends between two characters.
pub fn cut_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

/// Reads the payload of a close frame. RFC 6455, 5.5.1.
pub(super) fn decode(payload: &[u8]) -> Result<Message, WebSocketFault> {
    let (code, reason) = match payload {
        [] => return Ok(Message::Close(None)),
        [_] => return Err(WebSocketFault::BadClosePayload),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !may_be_sent(code) {
        return Err(WebSocketFault::BadCloseCode { code });
    }
    let reason = std::str::from_utf8(reason).map_err(|_| WebSocketFault::InvalidUtf8)?;
    Ok(Message::Close(Some(CloseFrame { code, reason: reason.to_owned() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_judged() {
        let allowed: Vec<u16> = (0..=u16::MAX).filter(|&code| may_be_sent(code)).collect();
        let expected: Vec<u16> = (1000..=1003).chain(1007..=1014).chain(3000..=4999).collect();
        assert_eq!(allowed, expected);
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(cut_reason("short"), "short");
        assert_eq!(cut_reason(&"x".repeat(200)).len(), REASON_BYTES_MAX);
        // 123 is no multiple of 2 or 4, so the last character that would be cut in half goes.
        assert_eq!(cut_reason(&"é".repeat(100)).len(), 122);
        assert_eq!(cut_reason(&"🔥".repeat(100)).len(), 120);
    }
}
