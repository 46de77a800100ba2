//! A subscriber over STOMP: any number of channels on one connection, each a subscription with its number for an id.

use bongsu_core::stomp::{Frame, FrameCommand};
use bongsu_core::{ChannelName, ContentType, Cursor, Start};

use super::socket::{Over, StompSocket};
use super::{destination, goodbye};
use crate::client::event::{Event, Published};
use crate::client::fault::ClientFault;
use crate::client::http::Limits;
use crate::client::record;
use crate::client::target::Target;

/// A subscriber over STOMP.
#[derive(Debug)]
pub struct Stomp {
    socket: StompSocket,
    channels: Vec<ChannelName>,
    said_goodbye: bool,
}

impl Stomp {
    /// Opens the connection and asks for the channels.
    pub async fn open(target: &Target, over: Over, starts: &[(ChannelName, Start)], limits: Limits) -> Result<Self, ClientFault> {
        let mut socket = StompSocket::open(target, over, limits).await?;
        for (number, (channel, start)) in starts.iter().enumerate() {
            socket.lay(&subscribe(channel, start, number));
        }
        socket.flush().await?;
        let channels = starts.iter().map(|(channel, _)| channel.clone()).collect();
        Ok(Self { socket, channels, said_goodbye: false })
    }

    /// The next event, or nothing once the server has closed.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientFault> {
        let Some(frame) = self.socket.receive().await? else {
            return if self.said_goodbye { Ok(None) } else { Err(ClientFault::broken("the connection ended without a word")) };
        };
        match frame.command {
            FrameCommand::Message => self.message(&frame).map(Some),
            FrameCommand::Receipt => self.started(&frame).map(Some),
            FrameCommand::Error => {
                self.said_goodbye = true;
                goodbye(&frame).map(Event::Bye).map(Some)
            }
            other => Err(ClientFault::contract(format!("a server that says {}", other.as_str()))),
        }
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.socket.close().await;
    }

    /// The receipt of a SUBSCRIBE tells where it starts.
    fn started(&self, receipt: &Frame) -> Result<Event, ClientFault> {
        let channel = self.channel(receipt, "receipt-id")?.clone();
        Ok(Event::Started { channel, cursor: cursor(receipt, "cursor")? })
    }

    fn message(&self, message: &Frame) -> Result<Event, ClientFault> {
        let channel = self.channel(message, "subscription")?;
        if message.get("gap").is_some() {
            let text = std::str::from_utf8(&message.body).map_err(|_| ClientFault::contract("a gap that is not UTF-8"))?;
            return record::read_gap(text, channel).map(|gap| Event::Gap(Box::new(gap)));
        }
        let own = message.headers.iter().filter(|(name, _)| !KNOWN.contains(&&**name));
        Ok(Event::Publication(Box::new(Published {
            channel: channel.clone(),
            position: cursor(message, "position")?,
            data: message.body.clone(),
            content_type: message.get("content-type").map_or(ContentType::Octets, ContentType::parse),
            time: message.get("time").map(str::to_owned),
            key: message.get("key").map(str::to_owned),
            headers: own.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        })))
    }

    /// The channel of a subscription, which has its number for an id.
    fn channel(&self, frame: &Frame, header: &str) -> Result<&ChannelName, ClientFault> {
        let number = frame.get(header).and_then(|id| id.parse::<usize>().ok());
        let channel = number.and_then(|number| self.channels.get(number));
        channel.ok_or_else(|| ClientFault::Contract(format!("a {} of no subscription of ours", frame.command.as_str())))
    }
}

fn subscribe(channel: &ChannelName, start: &Start, number: usize) -> Frame {
    let number = number.to_string();
    let frame = Frame::new(FrameCommand::Subscribe).with("id", &number).with("destination", &destination(channel)).with("receipt", &number);
    match start {
        Start::Live => frame,
        Start::After(cursor) => frame.with("after", cursor.as_str()),
        Start::Earliest => frame.with("earliest", "true"),
        Start::Last(count) => frame.with("last", &count.to_string()),
    }
}

fn cursor(frame: &Frame, header: &str) -> Result<Cursor, ClientFault> {
    let missing = || ClientFault::Contract(format!("a {} without {header}", frame.command.as_str()));
    Ok(Cursor::parse(frame.get(header).ok_or_else(missing)?)?)
}

/// The headers that are not the publication's own.
const KNOWN: [&str; 10] =
    ["subscription", "message-id", "ack", "destination", "position", "content-type", "content-length", "time", "key", "redelivered"];
