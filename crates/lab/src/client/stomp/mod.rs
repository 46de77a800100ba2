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

/// What an ERROR says: a goodbye has a number for its code, a fault a name.
fn goodbye(error: &Frame) -> Result<Bye, ClientFault> {
    let text = |name: &str| error.get(name).unwrap_or_default().to_owned();
    let (code, message) = (text("code"), text("message"));
    let Ok(code) = code.parse() else { return Err(ClientFault::Told { code, message }) };
    let reconnect_ms = error.get("reconnect-ms").and_then(|value| value.parse().ok());
    Ok(Bye { code, reason: message, reconnect_ms, come_back: reconnect_ms.is_some() })
}
