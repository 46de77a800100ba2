//! The load driver: opens subscribers, publishes at a rate or in a window, checks every message, and reads what it cost the server.
//!
//! One thread with an event loop of its own, so that what it costs itself stays small beside the server. [`run`] does a whole run.

mod decode;
mod driver;
mod inflate;
mod process;
mod subscriber;
mod tally;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use decode::PeerFault;
pub use driver::run;
pub use process::Usage;

/// What to open, what to publish and for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Where, and in which words.
    pub target: Target,
    /// The server's process, if its CPU time and memory are to be read.
    pub server_pid: Option<u32>,
    /// How many connections subscribe.
    pub subscribers: usize,
    /// Over how many channels they are spread.
    pub channels: usize,
    /// How many channels each of them subscribes to.
    pub subscriptions_per_connection: usize,
    /// How publications are paced.
    pub pace: Pace,
    /// The payload's length in bytes, at least [`PAYLOAD_BYTES_MIN`].
    pub payload_bytes: usize,
    /// What the payload is filled with.
    pub filling: Filling,
    /// How long to publish before anything is counted.
    pub warm_up: Duration,
    /// How long to count. Zero opens the connections, reads the memory and publishes nothing.
    pub duration: Duration,
    /// How many of the subscribers are slow, from the first on; nobody waits for them, and what they miss is counted apart.
    pub slow_subscribers: usize,
    /// How long a slow subscriber pauses before it reads what is there; zero means that it never reads.
    pub slow_pause: Duration,
}

/// When the next publication is due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Pace {
    /// So many outstanding: the next follows once every subscriber has the oldest.
    InFlight(usize),
    /// So many a second, whatever the server does. Latency counts from the moment a publication was due.
    PerSecond(f64),
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

/// How a subscriber receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// WebSocket frames; a message is found in any text or binary frame.
    WebSocket,
    /// Server-sent events.
    Sse,
    /// A stream of lines.
    Lines,
    /// A request for each answer, from the `Bongsu-Cursor` of the one before. A poll counts as open once it is sent.
    LongPoll,
}

/// A server described by data. In paths and frames, `{channel}` is a channel's name, `{channels}` all of a connection's as
/// `channel=a&channel=b`, and `{payload}` the message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// How subscribers receive.
    pub transport: Transport,
    /// What a subscriber asks for.
    pub subscribe_path: String,
    /// What is sent for each of a connection's channels once it is open, and answered before the subscription counts as there.
    pub subscribe_frame: Option<String>,
    /// The WebSocket that publishes. With `{channel}` in it there is a connection for each channel, else one for all.
    pub publish_path: String,
    /// The WebSocket subprotocol of the publishers.
    pub publish_subprotocol: Option<String>,
    /// The WebSocket subprotocol of the subscribers.
    pub subscribe_subprotocol: Option<String>,
    /// The WebSocket extensions that subscribers offer: `permessage-deflate`, without context takeover by the server, or none.
    pub subscribe_extensions: Option<String>,
    /// A publication's frame.
    pub publish_frame: String,
}

impl Target {
    /// Channels as paths and plain payloads: `/channels/{channel}`, as this project's server and the bare one speak.
    pub fn plain(address: SocketAddr, transport: Transport) -> Self {
        Self {
            address,
            transport,
            subscribe_path: if transport == Transport::LongPoll { "/channels/{channel}?wait=25" } else { "/channels/{channel}" }.into(),
            subscribe_frame: None,
            publish_path: "/channels/{channel}".into(),
            publish_subprotocol: None,
            subscribe_subprotocol: None,
            subscribe_extensions: None,
            publish_frame: "{payload}".into(),
        }
    }
}

/// What a run showed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Connections that subscribed.
    pub subscribers: usize,
    /// How many were opened a second, each with its request answered.
    pub opened_per_second: f64,
    /// Publications while it counted.
    pub publications: u64,
    /// Messages that reached subscribers while it counted.
    pub deliveries: u64,
    /// Publications that came back to their publishers: the server delivered these too.
    pub echoes: u64,
    /// How long it counted.
    pub seconds: f64,
    /// Deliveries a second.
    pub deliveries_per_second: f64,
    /// Messages that never came.
    pub lost: u64,
    /// Messages that came again or behind a later one.
    pub repeated: u64,
    /// Connections that ended before their time.
    pub closed: u64,
    /// Messages that slow subscribers read.
    pub slow_deliveries: u64,
    /// Messages that they were never given, as the next one shows.
    pub slow_lost: u64,
    /// Bytes that subscribers read from their sockets for each delivery, frames and heads included.
    pub bytes_per_delivery: f64,
    /// From due (at a rate) or sent (in a window) to delivered, in microseconds.
    pub latency_us: Latency,
    /// The server's processor time for each delivery or echo, in microseconds.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// The share of it that the kernel used.
    pub server_system_share: Option<f64>,
    /// The same for the driver itself: what the rest of the machine was busy with.
    pub driver_cpu_us_per_delivery: Option<f64>,
    /// The server's resident memory before and after the connections were opened and when all was done, in bytes.
    pub server_rss_bytes: Option<[u64; 3]>,
    /// Resident memory that each open, silent connection added, in bytes.
    pub rss_per_idle_connection: Option<f64>,
}

/// Points of a latency distribution.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

impl Report {
    /// Whether every message came once and in order, and no connection ended early.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.repeated == 0 && self.closed == 0
    }
}

/// Why a run could not be done.
#[derive(Debug, thiserror::Error)]
pub enum RunFault {
    /// The operating system refused something.
    #[error("the load driver's sockets: {0}")]
    Io(#[from] std::io::Error),
    /// A plan that makes no sense.
    #[error("the plan: {0}")]
    Plan(&'static str),
    /// Not every connection was answered in time.
    #[error("{ready} of {wanted} connections were open after {} seconds; see the descriptor limit (ulimit -n) and the server's log", .seconds)]
    Opening {
        /// Connections whose request was answered.
        ready: usize,
        /// Connections that the plan wants.
        wanted: usize,
        /// How long it waited.
        seconds: u64,
    },
    /// A connection ended before it was answered.
    #[error("a connection was refused, or closed without an answer, after {ready} had been opened; does the server listen there?")]
    ClosedEarly {
        /// Connections that were open by then.
        ready: usize,
    },
    /// The server said something that the driver cannot read.
    #[error("a server's answer: {0}")]
    Peer(#[from] PeerFault),
}

/// The shortest payload: it has room for the mark and the number.
pub const PAYLOAD_BYTES_MIN: usize = wire::STAMP_LEN;
