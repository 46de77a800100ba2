//! Everything that can be configured, typed, with its default and its allowed range.
//!
//! The layers, in rising weight: the defaults here, `bongsu.toml`, the environment, the flags. The defaults are also written
//! out, with explanations, in `default.toml`; a test holds the two equal.

mod channels;
mod check;
mod duration;
mod fault;
mod listen;
mod load;
mod log;
mod overrides;
mod proxy;
mod queues;
mod reload;
mod schema;
mod section;
mod size;
mod tls;
mod transports;

use serde::{Deserialize, Serialize};

pub use channels::{ChannelOverride, ChannelRules, Slow};
pub use duration::{Period, PeriodFault};
pub use fault::{ConfigFault, Fault};
pub use listen::{Listener, ListenerFault};
pub use load::{Flag, Loaded, Origin, Setting, SourceFile, Sources};
pub use log::{Log, LogFormat, LogLevel};
pub use proxy::{ClientHeader, Proxy, ProxyProtocol};
pub use queues::{QueueOverride, QueueTables};
pub use reload::Change;
pub use size::{Size, SizeFault};
pub use tls::{Acme, AcmeChallenge, CertificateFiles, ClientAuth, Tls as TlsSection, TlsVersion};
pub use transports::{Console, Echo, Http, Http2, Native, Stomp, Tcp, Udp, WebSocket};

use section::section;

/// The configuration of one server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many workers, each an event loop on a thread of its own; 0 means one per core.
    pub workers: usize,
    /// Where to keep what should outlive the process. Empty: nothing is kept.
    pub data_dir: String,
    /// Who listens, and where.
    pub listen: Listen,
    /// Encryption, on every stream listener.
    pub tls: TlsSection,
    /// Certificates by ACME.
    pub acme: Acme,
    /// Who may use the server at all.
    pub access: Access,
    /// Bounds on what clients do together, and each address.
    pub limits: Limits,
    /// Proxies in front.
    pub proxy: Proxy,
    /// Bounds on HTTP.
    pub http: Http,
    /// Bounds on HTTP/2.
    pub http2: Http2,
    /// Bounds on WebSocket.
    pub websocket: WebSocket,
    /// Bounds on the native protocol over TCP.
    pub tcp: Tcp,
    /// Bounds on the native protocol over UDP.
    pub udp: Udp,
    /// Bounds on STOMP, over TCP and WebSocket.
    pub stomp: Stomp,
    /// The WebSocket echo at `/echo`.
    pub echo: Echo,
    /// The page at `/`.
    pub console: Console,
    /// What a channel retains, and what all of them may hold in sum.
    pub history: History,
    /// What a queue may hold, and what all of them may hold in sum.
    pub queues: Queues,
    /// How long a repeated publish is recognised.
    pub idempotency: Idempotency,
    /// How publications wait for their subscribers.
    pub delivery: Delivery,
    /// Bounds on the native protocol.
    pub native: Native,
    /// How the server takes its leave.
    pub shutdown: Shutdown,
    /// What is logged, and in what form.
    pub log: Log,
    /// Other bounds for the channels that match a pattern.
    pub channels: Vec<ChannelOverride>,
    /// Other bounds for the queues that match a pattern.
    pub queue: Vec<QueueOverride>,
}

section! {
    /// The listeners, each an address or `off`.
    Listen {
        /// HTTP and WebSocket.
        http: Listener = Listener::At(([127, 0, 0, 1], 8080).into());
        /// The native protocol over TCP, a JSON object a line.
        tcp: Listener = Listener::IfFree(([127, 0, 0, 1], 7070).into());
        /// HTTP in the clear beside TLS, which leads to TLS and answers ACME.
        redirect: Listener = Listener::Off;
        /// The native protocol over UDP, JSON objects in datagrams.
        udp: Listener = Listener::IfFree(([127, 0, 0, 1], 7070).into());
        /// The numbers at `/metrics`, and `/health` with its details, apart from everything else.
        admin: Listener = Listener::Off;
        /// STOMP over TCP.
        stomp: Listener = Listener::IfFree(([127, 0, 0, 1], 61613).into());
        /// Whether another server may listen at the same addresses at the same time.
        overlap: bool = false;
    }
}

section! {
    /// Who may use the server at all.
    Access {
        /// Whether it may listen where others than this machine can reach it, although it asks nobody who they are.
        allow_anonymous: bool = false;
    }
}

section! {
    /// Bounds on what clients do together, and each address.
    Limits {
        /// Addresses and networks that none of the bounds by address or by pace holds for.
        exempt: Vec<String> = vec!["127.0.0.0/8".to_owned(), "::1".to_owned()];
        /// Connections of one address.
        connections_per_address_max: usize = 1_000, in 1..=10_000_000;
        /// New connections in a second, from all addresses together.
        connections_per_second: usize = 5_000, in 0..=10_000_000;
        /// New connections in a second from one address.
        connections_per_second_per_address: usize = 100, in 0..=10_000_000;
        /// Publications in a second over one connection.
        publications_per_second: usize = 1_000, in 0..=100_000_000;
        /// Bytes of publications in a second over one connection.
        publication_bytes_per_second: Size = Size::mib(4), in Size::bytes(0)..=Size::gib(16);
        /// Publications in a second from one address.
        publications_per_second_per_address: usize = 5_000, in 0..=100_000_000;
        /// Bytes of publications in a second from one address.
        publication_bytes_per_second_per_address: Size = Size::mib(16), in Size::bytes(0)..=Size::gib(16);
        /// What may be done at once, as the time in which the pace would allow it.
        burst: Period = Period::secs(10), in Period::millis(1)..=Period::hours(1);
        /// Bytes of memory for everything that is under way.
        in_flight_bytes_max: Size = Size::mib(512), in Size::mib(1)..=Size::gib(1024);
    }
}

section! {
    /// What a channel retains, and what all of them may hold in sum.
    History {
        /// Publications retained by a channel.
        publications_max: usize = 10_000, in 1..=100_000_000;
        /// Bytes retained by a channel.
        bytes_max: Size = Size::mib(16), in Size::kib(1)..=Size::gib(1024);
        /// How long a publication is retained.
        age_max: Period = Period::minutes(10), in Period::secs(1)..=Period::days(36_525);
        /// Bytes retained by all channels together.
        total_bytes_max: Size = Size::mib(256), in Size::kib(1)..=Size::gib(1024);
        /// Channels that exist at once.
        channels_max: usize = 100_000, in 1..=100_000_000;
        /// How long an unused channel is kept.
        unused_after: Period = Period::hours(1), in Period::secs(1)..=Period::days(36_525);
        /// Let-go channels whose epoch and head are remembered.
        forgotten_max: usize = 1_000_000, in 0..=100_000_000;
    }
}

section! {
    /// What a queue may hold, and what all of them may hold in sum.
    Queues {
        /// Messages held by a queue, those in hand included.
        messages_max: usize = 10_000, in 1..=100_000_000;
        /// Bytes held by a queue.
        bytes_max: Size = Size::mib(16), in Size::kib(1)..=Size::gib(1024);
        /// How long a message may wait.
        age_max: Period = Period::days(1), in Period::secs(1)..=Period::days(36_525);
        /// Bytes held by all queues together.
        total_bytes_max: Size = Size::mib(128), in Size::kib(1)..=Size::gib(1024);
        /// Queues that hold messages at once.
        queues_max: usize = 10_000, in 1..=100_000_000;
        /// Consumers of a queue.
        consumers_max: usize = 1_000, in 1..=1_000_000;
        /// How often a message may fail; 0 for ever again.
        tries_max: u32 = 10, in 0..=1_000_000;
        /// Where messages go that failed too often, were rejected or waited too long; `*` stands for the queue's name.
        dead_letter: String = "$dead/*".to_owned();
    }
}

section! {
    /// How long a publish that is repeated under the same idempotency key is recognised.
    Idempotency {
        /// Keys remembered by a channel.
        keys_max: usize = 1_000, in 0..=10_000_000;
        /// How long a key is remembered.
        age_max: Period = Period::minutes(2), in Period::secs(1)..=Period::days(30);
    }
}

section! {
    /// How publications wait for their subscribers.
    Delivery {
        /// Bytes of encoded frames that a channel keeps at hand, per encoding and worker.
        tape_bytes_max: Size = Size::kib(256), in Size::kib(4)..=Size::gib(1);
        /// How many bytes a subscriber may lag behind its channel.
        lag_bytes_max: Size = Size::mib(4), in Size::kib(4)..=Size::gib(1024);
        /// How long a subscriber may lag behind its channel.
        lag_age_max: Period = Period::secs(30), in Period::millis(10)..=Period::days(1);
        /// What becomes of a subscriber that passed a bound on lag.
        slow: Slow = Slow::Disconnect;
        /// How long publishers wait for a slow subscriber, where they do.
        pause_max: Period = Period::secs(5), in Period::millis(10)..=Period::hours(1);
        /// How long a subscriber for which publications are passed over may take nothing at all.
        silent_max: Period = Period::minutes(2), in Period::millis(10)..=Period::days(1);
        /// How long a client that follows no channel may take nothing of what waits for it.
        answer_timeout: Period = Period::secs(30), in Period::millis(10)..=Period::days(1);
        /// Bytes that the kernel takes of a connection ahead of what it may send; 0 leaves it to the kernel.
        unsent_bytes_max: Size = Size::kib(32), in Size::bytes(0)..=Size::gib(1);
        /// The kernel's send buffer of a connection; 0 leaves it to the kernel.
        send_buffer_bytes: Size = Size::kib(256), in Size::bytes(0)..=Size::gib(1);
        /// Bytes of a connection's own replies, pings and goodbyes that wait to leave.
        outbox_bytes_max: Size = Size::kib(256), in Size::kib(4)..=Size::gib(1);
    }
}

section! {
    /// How the server takes its leave.
    Shutdown {
        /// How long it may take in all.
        timeout: Period = Period::secs(10), in Period::millis(1)..=Period::hours(1);
        /// Connections told goodbye in a second.
        pace_per_second: usize = 2_000, in 1..=10_000_000;
        /// The soonest that a client is asked to come back.
        reconnect_min: Period = Period::secs(1), in Period::millis(0)..=Period::hours(1);
        /// The latest that a client is asked to come back.
        reconnect_max: Period = Period::secs(5), in Period::millis(0)..=Period::hours(1);
    }
}

impl Config {
    /// Lays the sources over the defaults; all that is wrong with them is told at once.
    pub fn load(sources: &Sources) -> Result<Self, ConfigFault> {
        load::load(sources).map(|loaded| loaded.config)
    }

    /// Like `load`, and says where each value that was set came from.
    pub fn load_with_origins(sources: &Sources) -> Result<Loaded, ConfigFault> {
        load::load(sources)
    }

    /// The defaults as a file, with what each key means.
    pub fn default_text() -> &'static str {
        include_str!("default.toml")
    }
}

#[cfg(test)]
mod tests;
