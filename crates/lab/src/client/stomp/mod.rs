//! STOMP 1.2 as a client: frames over TCP or over a WebSocket, and above them a subscriber and a publisher.

mod publish;
mod socket;
mod subscriber;

pub(crate) use publish::StompPublisher;
pub use socket::{Over, StompSocket};
pub use subscriber::Stomp;

use bongsu_core::ChannelName;
use bongsu_core::stomp::Frame;

use super::event::Bye;
use super::fault::ClientFault;

/// Where a channel's frames go.
fn destination(channel: &ChannelName) -> String {
    format!("/topic/{channel}")
}

/// What an ERROR says: a goodbye, told by the word for it, or a fault of ours.
fn goodbye(error: &Frame) -> Result<Bye, ClientFault> {
    let text = |name: &str| error.get(name).unwrap_or_default().to_owned();
    let (word, message) = (text("code"), text("message"));
    let Some((_, code)) = GOODBYES.iter().find(|(known, _)| *known == word) else {
        return Err(ClientFault::Told { code: word, message });
    };
    let reconnect_ms = error.get("reconnect-ms").and_then(|value| value.parse().ok());
    Ok(Bye { code: *code, reason: message, reconnect_ms, come_back: reconnect_ms.is_some() })
}

/// Goodbyes by their words, and the close codes that other transports have for them.
const GOODBYES: [(&str, u16); 7] = [
    ("shutdown", 1001),
    ("internal", 1011),
    ("overloaded", 1013),
    ("expired", 4001),
    ("idle-timeout", 4003),
    ("slow", 4008),
    ("gap", 4009),
];

#[cfg(test)]
mod tests {
    use super::*;
    use bongsu_core::stomp::FrameCommand;

    #[test]
    fn a_goodbye_is_told_from_a_fault() {
        let error = |code: &str| Frame::new(FrameCommand::Error).with("code", code).with("message", "m");
        let bye = goodbye(&error("shutdown").with("reconnect-ms", "9")).expect("a goodbye");
        assert_eq!(bye, Bye { code: 1001, reason: "m".into(), reconnect_ms: Some(9), come_back: true });
        assert!(!goodbye(&error("expired")).expect("a goodbye").come_back);
        assert!(matches!(goodbye(&error("head-too-large")), Err(ClientFault::Told { code, .. }) if code == "head-too-large"));
    }
}
