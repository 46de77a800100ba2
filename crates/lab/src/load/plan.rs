//! What a run is to do: how many connections, which publications, for how long, and against which server in which words.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Transport;

/// What to open, what to publish and for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Where, and in which words.
    pub target: Target,
    /// The server's process, if its CPU time and memory are to be read.
    pub server_pid: Option<u32>,
    /// How many connections subscribe.
    pub subscribers: usize,
    /// How many connections publish to each channel, or, where one connection can publish to any channel, how many in all.
    pub publishers: usize,
    /// Over how many channels they are spread.
    pub channels: usize,
    /// How many channels each of them subscribes to.
    pub subscriptions_per_connection: usize,
    /// How publications are paced.
    pub pace: Pace,
    /// The payload's length in bytes, at least [`super::PAYLOAD_BYTES_MIN`].
    pub payload_bytes: usize,
    /// What the payload is filled with.
    pub filling: Filling,
    /// How many connections a second are opened; as many as the server takes, if nothing is said.
    pub ramp_per_second: Option<f64>,
    /// How long a subscriber that polls waits from one request to the next.
    pub poll_interval: Duration,
    /// How long to publish before anything is counted.
    pub warm_up: Duration,
    /// How long to count. Zero opens the connections, reads the memory and publishes nothing.
    pub duration: Duration,
    /// How many of the subscribers are slow, from the first on; nobody waits for them, and what they miss is counted apart.
    pub slow_subscribers: usize,
    /// How long a slow subscriber pauses before it reads what is there; zero means that it never reads.
    pub slow_pause: Duration,
    /// Whether latency is only of the channels that no slow subscriber follows.
    pub latency_apart: bool,
    /// Where the server tells its own counters, to be read at the end.
    pub metrics: Option<(SocketAddr, String)>,
}

impl Plan {
    /// A thousand subscribers of one channel, and a publication of 128 bytes in flight, for two seconds.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            server_pid: None,
            subscribers: 1000,
            publishers: 1,
            channels: 1,
            subscriptions_per_connection: 1,
            pace: Pace::InFlight(1),
            payload_bytes: 128,
            filling: Filling::Same,
            ramp_per_second: None,
            poll_interval: Duration::from_secs(1),
            warm_up: Duration::from_millis(500),
            duration: Duration::from_secs(2),
            slow_subscribers: 0,
            slow_pause: Duration::ZERO,
            latency_apart: false,
            metrics: None,
        }
    }

    /// How many sequences of publications there are, each in order for every subscriber: one for each publisher of each channel.
    pub(super) fn lanes(&self) -> usize {
        self.channels * self.publishers
    }

    /// How many connections publish.
    pub(super) fn publishing_connections(&self) -> usize {
        if self.target.publish_path.contains("{channel}") && self.target.publish_over == Over::WebSocket {
            self.lanes()
        } else {
            self.publishers
        }
    }

    /// Which of them publishes in a lane.
    pub(super) fn publisher_of(&self, lane: usize) -> usize {
        if self.publishing_connections() == self.lanes() { lane } else { lane / self.channels }
    }
}

/// When the next publication is due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Pace {
    /// So many outstanding: the next follows once every subscriber has the oldest.
    InFlight(usize),
    /// So many a second, whatever the server does. Latency counts from the moment a publication was due.
    PerSecond(f64),
    /// None at all: what it costs to have them there.
    Nothing,
}

/// What payloads are made of, behind their stamp.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filling {
    /// One character, over and over.
    #[default]
    Same,
    /// JSON, as an application might send it: what compression has to do with.
    Json,
}

/// How publications are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// As frames of a WebSocket.
    #[default]
    #[serde(rename = "ws")]
    WebSocket,
    /// Each as a POST on a connection that is kept, the next once the one before is answered.
    Http,
    /// As they are, on a connection like a subscriber's, with nothing of HTTP before.
    Raw,
}

/// A server described by data. In paths and frames, `{channel}` is a channel's name, `{channels}` all of a connection's as
/// `channel=a&channel=b`, `{n}` the number of the subscription on its connection, and, where it publishes, `{payload}` the message,
/// `{payload:json}` the same as a JSON string, and `{bytes}` its length.
///
/// Where in a record the message stands need not be said: each carries a stamp by which it is found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// The file of the certificate to trust, if TLS is spoken there, with a server called `localhost`.
    #[serde(default)]
    pub tls_ca: Option<PathBuf>,
    /// How subscribers receive.
    pub transport: Transport,
    /// What a subscriber asks for.
    pub subscribe_path: String,
    /// Sent once it is open; one that names a channel, for each of a connection's.
    pub subscribe_opening: Vec<String>,
    /// The words in a record that say that it is subscribed; without them, any answer does. They are awaited for each channel if the
    /// last line of the opening names one, else once.
    pub subscribe_ready: Option<String>,
    /// What a server may say, and what is said back: `2` and `3` for Engine.IO's ping.
    pub answers: Vec<(String, String)>,
    /// The WebSocket subprotocol of the subscribers.
    pub subscribe_subprotocol: Option<String>,
    /// The WebSocket extensions that subscribers offer: `permessage-deflate`, without context takeover by the server, or none.
    pub subscribe_extensions: Option<String>,
    /// What a poll asks after the first, with `{name}` for the header of that name in the answer before.
    pub next_path: String,
    /// Headers of these requests, filled likewise.
    pub next_headers: Vec<(String, String)>,
    /// Whether a long poll is answered only once something came, so that it counts as open as soon as it is sent.
    pub open_once_sent: bool,
    /// How publications are sent.
    pub publish_over: Over,
    /// Where to. With `{channel}` in it, WebSockets that publish are one for each channel.
    pub publish_path: String,
    /// Headers of a publish over HTTP.
    pub publish_headers: Vec<(String, String)>,
    /// The WebSocket subprotocol of the publishers.
    pub publish_subprotocol: Option<String>,
    /// Sent once a publisher is open.
    pub publish_opening: Vec<String>,
    /// The words that say that it may publish.
    pub publish_ready: Option<String>,
    /// A publication's frame, or body.
    pub publish_frame: String,
}

impl Target {
    /// Channels as paths and plain payloads: `/channels/{channel}`, as this project's server and the bare one speak.
    pub fn plain(address: SocketAddr, transport: Transport) -> Self {
        let polls = matches!(transport, Transport::Poll | Transport::LongPoll);
        let wait = if transport == Transport::LongPoll { "wait=25&" } else { "" };
        match transport {
            Transport::Tcp => return Self::lines(address),
            Transport::Stomp => return Self::stomp(address, transport),
            Transport::StompWebSocket => {
                let plain = Self::plain(address, Transport::WebSocket);
                let Self { subscribe_opening, subscribe_ready, .. } = Self::stomp(address, transport);
                let (subscribe_path, subscribe_subprotocol) = ("/stomp".into(), Some("v12.stomp".into()));
                return Self { transport, subscribe_path, subscribe_subprotocol, subscribe_opening, subscribe_ready, ..plain };
            }
            _ => (),
        }
        let native = transport == Transport::Native;
        Self {
            address,
            tls_ca: None,
            transport,
            subscribe_path: if polls { "/channels/{channel}?live" } else { "/channels/{channel}" }.into(),
            subscribe_opening: native.then(|| r#"{"subscribe":"{channel}","id":{n}}"#.to_owned()).into_iter().collect(),
            subscribe_ready: native.then(|| r#""cursor":"#.to_owned()),
            answers: Vec::new(),
            subscribe_subprotocol: native.then(|| "bongsu.v1.json".to_owned()),
            subscribe_extensions: None,
            next_path: format!("/channels/{{channel}}?{wait}after={{bongsu-cursor}}"),
            next_headers: Vec::new(),
            open_once_sent: false,
            publish_over: Over::WebSocket,
            publish_path: "/channels/{channel}".into(),
            publish_headers: Vec::new(),
            publish_subprotocol: None,
            publish_opening: Vec::new(),
            publish_ready: None,
            publish_frame: "{payload}".into(),
        }
    }

    /// This project's lines over TCP, for publishers too.
    fn lines(address: SocketAddr) -> Self {
        Self {
            subscribe_opening: vec!["{\"subscribe\":\"{channel}\",\"id\":{n}}\n".into()],
            subscribe_ready: Some("\"cursor\":".into()),
            publish_opening: vec!["{\"ping\":1}\n".into()],
            publish_ready: Some("\"pong\":".into()),
            publish_frame: "{\"publish\":\"{channel}\",\"data\":\"{payload}\"}\n".into(),
            ..Self::raw(address, Transport::Tcp)
        }
    }

    /// STOMP, for publishers too.
    fn stomp(address: SocketAddr, transport: Transport) -> Self {
        let connect = || "CONNECT\naccept-version:1.2\nhost:bench\n\n\0".to_owned();
        Self {
            subscribe_opening: vec![connect(), "SUBSCRIBE\nid:{n}\ndestination:/topic/{channel}\nreceipt:{n}\n\n\0".into()],
            subscribe_ready: Some("RECEIPT\n".into()),
            publish_opening: vec![connect()],
            publish_ready: Some("CONNECTED\n".into()),
            publish_frame: "SEND\ndestination:/topic/{channel}\ncontent-type:text/plain\n\n{payload}\0".into(),
            ..Self::raw(address, transport)
        }
    }

    fn raw(address: SocketAddr, transport: Transport) -> Self {
        let plain = Self::plain(address, Transport::WebSocket);
        Self { transport, publish_over: Over::Raw, publish_path: String::new(), ..plain }
    }

    /// Whether a connection can have several subscriptions.
    pub fn names_several_channels(&self) -> bool {
        let opening = self.subscribe_opening.iter().any(|line| line.contains("{channel}"));
        opening || self.subscribe_path.contains("{channels}")
    }
}
