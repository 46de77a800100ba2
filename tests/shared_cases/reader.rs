//! A reader over any transport, and what it can see: a plain WebSocket carries payloads and nothing else.

use std::time::Duration;

use bongsu_core::websocket::Message;
use bongsu_core::{ChannelName, ContentType, Cursor, Start};
use bongsu_lab::client::{Bye, Client, ClientFault, Event, GapNotice, Options, Published, Subscriber, Transport, WebSocket};
use bytes::Bytes;

use crate::stage::Sent;

/// What carries a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A transport of the client, with cursors, gaps and everything that a publication has.
    Client(Transport),
    /// A WebSocket whose frames are payloads.
    Plain,
}

/// A reader that follows channels.
pub enum Reader {
    Client(Box<Subscriber>),
    Plain(Box<WebSocket>),
}

/// A publication as far as the transport tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    data: Bytes,
    /// Whether it came as text, where nothing else is told.
    is_text: bool,
    rest: Option<Rest>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rest {
    channel: ChannelName,
    position: Cursor,
    content_type: ContentType,
    key: Option<String>,
    /// Names without their case, which a header does not keep.
    headers: Vec<(String, String)>,
}

/// What a reader is told instead of what it asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct GapSeen {
    pub reason: String,
    pub asked: String,
    pub resumed: Cursor,
}

/// How a reader learns that the server goes away.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// By a goodbye that says to come back.
    Goodbye { code: u16, reconnect_ms: Option<u64> },
    /// By an end that says nothing.
    Silent,
}

impl Carrier {
    /// The client's word for it, if the client has one.
    pub fn transport(self) -> Option<Transport> {
        match self {
            Self::Client(transport) => Some(transport),
            Self::Plain => None,
        }
    }

    /// Whether it tells more than payloads.
    pub fn tells_positions(self) -> bool {
        matches!(self, Self::Client(_))
    }

    /// Whether the server keeps anything of it between two answers, and so can say goodbye in words.
    pub fn is_held(self) -> bool {
        !matches!(self, Self::Client(Transport::Poll | Transport::LongPoll))
    }

    /// What a reader over this transport sees of a publication.
    pub fn shows(self, sent: &Sent) -> Seen {
        let Sent { channel, position, draft } = sent;
        let lower = |(name, value): &(Box<str>, Box<str>)| (name.to_ascii_lowercase(), value.to_string());
        let rest = || Rest {
            channel: channel.clone(),
            position: position.clone(),
            content_type: draft.content_type.clone(),
            key: draft.key.as_deref().map(str::to_owned),
            headers: draft.headers.iter().map(lower).collect(),
        };
        Seen {
            data: draft.data.clone(),
            is_text: draft.content_type.is_textual() && std::str::from_utf8(&draft.data).is_ok(),
            rest: self.tells_positions().then(rest),
        }
    }
}

impl Reader {
    /// Opens the transport and waits until it has begun: what is published from now on is live.
    pub async fn open(client: &Client, carrier: Carrier, channels: &[&str], start: Start) -> Self {
        Self::opened(client, carrier, channels, start).await.expect("it opens")
    }

    async fn opened(client: &Client, carrier: Carrier, channels: &[&str], start: Start) -> Result<Self, ClientFault> {
        let Carrier::Client(transport) = carrier else {
            let channel = ChannelName::parse(channels[0])?;
            let socket = WebSocket::open_plain(client.target(), &channel, &start, client.options().limits).await?;
            return Ok(Self::Plain(Box::new(socket)));
        };
        // A poll's interval is part of what it does, not a wait for something to have happened.
        let options = Options { interval: Duration::from_millis(5), ..Options::default() };
        let client = client.clone().with_options(options);
        let mut subscriber = client.subscribe(transport, channels, start)?.without_reconnect();
        for _ in channels {
            let first = subscriber.next_event().await?;
            assert!(matches!(first, Event::Started { .. }), "the first record tells the cursor, not {first:?}");
        }
        Ok(Self::Client(Box::new(subscriber)))
    }

    /// Opens the transport with a cursor that cannot be continued, and returns what is said of it. A transport that has no words for
    /// a gap has closed, and the reader goes on from where it was told to.
    pub async fn open_with_gap(client: &Client, carrier: Carrier, channel: &str, asked: &Cursor) -> (GapSeen, Self) {
        let mut reader = Self::open(client, carrier, &[channel], Start::After(asked.clone())).await;
        let gap = match &mut reader {
            Self::Client(subscriber) => gap_event(subscriber).await,
            Self::Plain(socket) => gap_close(socket).await,
        };
        if carrier == Carrier::Plain {
            reader = Self::open(client, carrier, &[channel], Start::After(gap.resumed.clone())).await;
        }
        (gap, reader)
    }

    /// The next so many publications.
    pub async fn take(&mut self, count: usize) -> Vec<Seen> {
        let mut seen = Vec::with_capacity(count);
        while seen.len() < count {
            seen.push(self.next().await);
        }
        seen
    }

    /// The next publication; a gap would be a fault of the case.
    pub async fn next(&mut self) -> Seen {
        match self {
            Self::Client(subscriber) => loop {
                match subscriber.next_event().await.expect("the subscription stands") {
                    Event::Publication(published) => return (*published).into(),
                    Event::Started { .. } | Event::CaughtUp { .. } | Event::Heartbeat => (),
                    other => panic!("a publication is due, not {other:?}"),
                }
            },
            Self::Plain(socket) => match socket.receive().await.expect("the connection stands") {
                Some(Message::Text(data)) => Seen { data, is_text: true, rest: None },
                Some(Message::Binary(data)) => Seen { data, is_text: false, rest: None },
                other => panic!("a payload is due, not {other:?}"),
            },
        }
    }

    /// What is told in place of a publication that does not fit into a datagram.
    pub async fn too_large(&mut self) -> Option<GapSeen> {
        match self {
            Self::Client(subscriber) => loop {
                match subscriber.next_event().await.expect("the subscription stands") {
                    Event::CaughtUp { .. } => (),
                    Event::Gap(gap) => return Some(GapSeen { reason: gap.reason, asked: gap.asked, resumed: gap.resumed }),
                    other => panic!("a gap is due, not {other:?}"),
                }
            },
            Self::Plain(_) => None,
        }
    }

    /// Reads to the end, which is due.
    pub async fn end(mut self) -> End {
        match &mut self {
            Self::Client(subscriber) => loop {
                match subscriber.next_event().await {
                    Ok(Event::Bye(Bye { code, reconnect_ms, .. })) => return End::Goodbye { code, reconnect_ms },
                    Ok(Event::CaughtUp { .. } | Event::Heartbeat) => (),
                    Ok(other) => panic!("the end is due, not {other:?}"),
                    Err(_) => return End::Silent,
                }
            },
            Self::Plain(socket) => match socket.receive().await.expect("a close frame comes before the end") {
                Some(Message::Close(Some(frame))) => End::Goodbye { code: frame.code, reconnect_ms: None },
                other => panic!("a close frame is due, not {other:?}"),
            },
        }
    }

    /// Leaves in good order.
    pub async fn close(self) {
        match self {
            Self::Client(mut subscriber) => subscriber.close().await,
            Self::Plain(socket) => socket.close().await,
        }
    }
}

impl From<Published> for Seen {
    fn from(published: Published) -> Self {
        let Published { channel, position, data, content_type, key, headers, .. } = published;
        let headers = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let is_text = content_type.is_textual() && std::str::from_utf8(&data).is_ok();
        Self { data, is_text, rest: Some(Rest { channel, position, content_type, key, headers }) }
    }
}

async fn gap_event(subscriber: &mut Subscriber) -> GapSeen {
    match subscriber.next_event().await.expect("the subscription stands") {
        Event::Gap(gap) => {
            let GapNotice { asked, resumed, reason, .. } = *gap;
            GapSeen { reason, asked, resumed }
        }
        other => panic!("a gap is due, not {other:?}"),
    }
}

/// The close code of a gap.
const GAP: u16 = 4009;

async fn gap_close(socket: &mut WebSocket) -> GapSeen {
    let frame = match socket.receive().await.expect("a close frame comes before the end") {
        Some(Message::Close(Some(frame))) => frame,
        other => panic!("a close frame is due, not {other:?}"),
    };
    assert_eq!(frame.code, GAP, "{frame:?}");
    let gap: serde_json::Value = serde_json::from_str(&frame.reason).expect("the reason is the gap");
    let text = |name: &str| gap[name].as_str().unwrap_or_default().to_owned();
    GapSeen { reason: text("reason"), asked: text("asked"), resumed: Cursor::parse(&text("resumed")).expect("a cursor") }
}
