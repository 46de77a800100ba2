//! What a run showed, and why one could not be done.

use serde::{Deserialize, Serialize};

use super::{Balance, PeerFault};

/// What a run showed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Connections that subscribed.
    pub subscribers: usize,
    /// How many of them were slow on purpose.
    #[serde(default)]
    pub slow_subscribers: usize,
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
    /// Messages that reached anyone from the first to the last, before and after it counted.
    #[serde(default)]
    pub received: u64,
    /// Bytes that subscribers read from their sockets for each delivery, frames and heads included.
    pub bytes_per_delivery: f64,
    /// Bytes that a subscriber finds at once: those of one write of the server, unless the driver comes so late that several lie there.
    pub bytes_per_read: f64,
    /// Bytes in both directions between the server and each subscriber, a second.
    pub bytes_per_subscriber_second: f64,
    /// Bytes in both directions between the server and the publishers, for each publication.
    pub bytes_per_publication: f64,
    /// From due (at a rate) or sent (in a window) to delivered, in microseconds.
    pub latency_us: Latency,
    /// The whole of it: shares of the deliveries, and within how many microseconds they came.
    pub latency_curve: Vec<(f64, u64)>,
    /// The server's processor time for each delivery or echo, in microseconds.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// The same for each publication.
    pub server_cpu_us_per_publication: Option<f64>,
    /// The server's processor time a second: 1 is a whole core.
    pub server_cpu_cores: Option<f64>,
    /// The share of it that the kernel used.
    pub server_system_share: Option<f64>,
    /// The same for the driver itself: what the rest of the machine was busy with.
    pub driver_cpu_us_per_delivery: Option<f64>,
    /// The server's resident memory before and after the connections were opened and when all was done, in bytes.
    pub server_rss_bytes: Option<[u64; 3]>,
    /// Resident memory that each open, silent connection added, in bytes.
    pub rss_per_idle_connection: Option<f64>,
    /// What the server itself says became of every publication.
    #[serde(default)]
    pub balance: Option<Balance>,
    /// How the run went, moment by moment, its warm-up included.
    pub timeline: Vec<Sample>,
}

/// Points of a latency distribution, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// One moment of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the first publication was due.
    pub seconds: f64,
    /// Deliveries a second since the moment before.
    pub deliveries_per_second: f64,
    /// The server's processor time a second since the moment before.
    pub server_cpu_cores: Option<f64>,
    /// The server's resident memory.
    pub server_rss_bytes: Option<u64>,
}

/// How far a run has come, for whoever watches it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// Connections are being opened.
    Opening {
        /// Those that are open.
        ready: usize,
        /// Those that the plan wants.
        wanted: usize,
    },
    /// It publishes and counts.
    Publishing {
        /// Seconds since the first publication was due.
        seconds: f64,
        /// Seconds that it will take, the warm-up included.
        of: f64,
        /// Deliveries a second, lately.
        deliveries_per_second: f64,
    },
}

impl Report {
    /// Whether every message came once and in order, and no connection ended early.
    pub fn is_complete(&self) -> bool {
        self.lost == 0 && self.repeated == 0 && self.closed == 0
    }

    /// Whether, besides, the server's counters add up, if it tells any.
    pub fn is_clean(&self) -> bool {
        self.is_complete() && self.balance.as_ref().is_none_or(|balance| balance.adds_up(self))
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
