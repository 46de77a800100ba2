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
mod proxy;
mod reload;
mod schema;
mod section;
mod size;
mod tls;

use serde::{Deserialize, Serialize};

pub use channels::{ChannelOverride, ChannelRules, Slow};
pub use duration::{Period, PeriodFault};
pub use fault::{ConfigFault, Fault};
pub use listen::{Listener, ListenerFault};
pub use load::{Flag, Loaded, Origin, Setting, SourceFile, Sources};
pub use proxy::{ClientHeader, Proxy, ProxyProtocol};
pub use reload::Change;
pub use size::{Size, SizeFault};
pub use tls::{Acme, AcmeChallenge, CertificateFiles, ClientAuth, Tls as TlsSection, TlsVersion};

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
    /// Bounds on HTTP: connections, requests, waits and pages.
    Http {
        /// Connections held at once.
        connections_max: usize = 100_000, in 1..=10_000_000;
        /// Bytes of a request line with its headers.
        head_bytes_max: Size = Size::kib(16), in Size::kib(1)..=Size::mib(1);
        /// Headers of a request.
        headers_max: usize = 100, in 1..=1_000;
        /// Bytes of one publication.
        body_bytes_max: Size = Size::mib(1), in Size::bytes(1)..=Size::gib(1);
        /// Bytes of a batch of publications in one request.
        batch_bytes_max: Size = Size::mib(16), in Size::bytes(1)..=Size::gib(1);
        /// How long a request's head may take to arrive.
        head_timeout: Period = Period::secs(10), in Period::millis(1)..=Period::hours(1);
        /// Bytes of a body that must arrive in a second.
        body_bytes_per_second_min: Size = Size::bytes(500), in Size::bytes(0)..=Size::gib(1);
        /// How long a request's body may take to arrive.
        body_timeout: Period = Period::secs(30), in Period::millis(1)..=Period::hours(1);
        /// How long a kept-alive connection may stand without a request.
        idle_timeout: Period = Period::secs(75), in Period::millis(1)..=Period::days(1);
        /// The longest wait that a long poll may ask for.
        wait_max: Period = Period::secs(60), in Period::millis(1)..=Period::days(1);
        /// Publications in one page of a poll.
        page_publications_max: usize = 1_000, in 1..=1_000_000;
        /// Bytes of publications in one page of a poll.
        page_bytes_max: Size = Size::mib(1), in Size::kib(1)..=Size::gib(1);
        /// How often a silent stream shows that it is alive.
        heartbeat: Period = Period::secs(15), in Period::millis(10)..=Period::hours(1);
        /// Channels that one request may subscribe to.
        channels_per_request_max: usize = 64, in 1..=1_000;
        /// Whether pages are compressed for clients that take it.
        compression: bool = true;
        /// From fast to small.
        compression_level: u8 = 1, in 1..=9;
        /// Bytes of the shortest page that is compressed.
        compression_threshold: Size = Size::kib(1), in Size::bytes(0)..=Size::gib(1);
        /// Further names that this server answers to, beside its addresses and `localhost`.
        hosts: Vec<String> = Vec::new();
        /// The origins of other sites whose pages may use this server.
        origins: Vec<String> = Vec::new();
    }
}

section! {
    /// HTTP/2, on the same address as HTTP/1.1; what is set there holds here too, and this comes beside it.
    Http2 {
        /// Streams that a client may have open at once on a connection.
        streams_max: usize = 1_000, in 1..=1_000_000;
        /// Bytes of a stream that wait to be sent.
        stream_bytes_max: Size = Size::kib(64), in Size::kib(1)..=Size::mib(16);
        /// Bytes that a client may send ahead on a stream.
        receive_stream_bytes: Size = Size::kib(64), in Size::kib(16)..=Size::mib(16);
        /// Bytes that a client may send ahead on all streams of a connection.
        receive_connection_bytes: Size = Size::mib(1), in Size::kib(64)..=Size::mib(64);
        /// How often the peer of a connection is asked whether it is there.
        ping_interval: Period = Period::secs(25), in Period::millis(10)..=Period::days(1);
        /// How long the answer may take.
        ping_timeout: Period = Period::secs(20), in Period::millis(10)..=Period::days(1);
    }
}

section! {
    /// Bounds on WebSocket connections.
    WebSocket {
        /// Bytes of a message, all its fragments together.
        message_bytes_max: Size = Size::mib(1), in Size::bytes(1)..=Size::gib(1);
        /// Bytes of a single frame's payload.
        frame_bytes_max: Size = Size::mib(1), in Size::bytes(125)..=Size::gib(1);
        /// Fragments of a message.
        fragments_max: usize = 1_024, in 1..=100_000_000;
        /// How long a connection may be silent before it is pinged.
        ping_interval: Period = Period::secs(25), in Period::millis(10)..=Period::days(1);
        /// How long an answer to a ping may take.
        ping_timeout: Period = Period::secs(20), in Period::millis(10)..=Period::days(1);
        /// How long the answer to a close frame may take.
        close_timeout: Period = Period::secs(5), in Period::millis(1)..=Period::hours(1);
        /// Channels that one connection may subscribe to.
        subscriptions_max: usize = 1_000, in 1..=1_000_000;
        /// Whether to agree to permessage-deflate.
        compression: bool = true;
        /// Whether a client's messages may refer back to its earlier ones.
        compression_context_takeover: bool = false;
        /// The largest window, as a power of two.
        compression_window_bits: u8 = 15, in 9..=15;
        /// From fast to small.
        compression_level: u8 = 3, in 1..=9;
        /// Bytes of the shortest message that is compressed.
        compression_threshold: Size = Size::bytes(256), in Size::bytes(0)..=Size::gib(1);
    }
}

section! {
    /// Bounds on the native protocol over TCP.
    Tcp {
        /// Bytes of one line.
        line_bytes_max: Size = Size::mib(2), in Size::bytes(64)..=Size::gib(1);
        /// How long a connection that follows nothing may say nothing.
        idle_timeout: Period = Period::minutes(5), in Period::millis(10)..=Period::days(1);
        /// How long a connection may be silent before the system probes whether its peer is there.
        keepalive: Period = Period::secs(25), in Period::secs(1)..=Period::days(1);
        /// The shortest interval at which a client may ask to be pinged.
        ping_every_min: Period = Period::secs(1), in Period::millis(10)..=Period::days(1);
        /// How long the answer to a ping may take.
        ping_timeout: Period = Period::secs(20), in Period::millis(10)..=Period::days(1);
        /// Channels that one connection may subscribe to.
        subscriptions_max: usize = 1_000, in 1..=1_000_000;
    }
}

section! {
    /// Bounds on the native protocol over UDP.
    Udp {
        /// Whether datagrams may leave this machine as they are: nothing encrypts them.
        cleartext: bool = false;
        /// Bytes of a datagram, either way.
        datagram_bytes_max: Size = Size::bytes(1_200), in Size::bytes(1_200)..=Size::bytes(65_507);
        /// Addresses that follow something at once.
        clients_max: usize = 10_000, in 1..=10_000_000;
        /// Channels that one address may subscribe to.
        subscriptions_max: usize = 64, in 1..=1_000_000;
        /// How long a subscription lasts unless it is renewed.
        lease: Period = Period::secs(30), in Period::millis(10)..=Period::days(1);
        /// How long a cookie holds.
        cookie_lifetime: Period = Period::minutes(2), in Period::millis(10)..=Period::days(1);
        /// Datagrams of addresses without a valid cookie that are answered in a second.
        strangers_per_second_max: usize = 10_000, in 1..=10_000_000;
        /// Repairs that one address may ask for in a second.
        repairs_per_second_max: usize = 1_000, in 1..=1_000_000;
        /// Bytes that one address is sent at once.
        in_flight_bytes_max: Size = Size::kib(64), in Size::kib(4)..=Size::mib(64);
        /// Bytes that one address is sent in a second.
        bytes_per_second_max: Size = Size::mib(8), in Size::kib(1)..=Size::gib(10);
        /// How long after a channel's last publication its head is told.
        head_after: Period = Period::millis(100), in Period::millis(50)..=Period::hours(1);
        /// How often the head of a silent channel is told in the end.
        head_interval_max: Period = Period::secs(5), in Period::millis(50)..=Period::hours(1);
        /// The kernel's receive buffer of each worker's socket; 0 leaves it to the kernel.
        receive_buffer_bytes: Size = Size::mib(1), in Size::bytes(0)..=Size::gib(1);
    }
}

section! {
    /// Bounds on STOMP, over TCP and WebSocket.
    Stomp {
        /// Bytes of a frame's command and headers.
        head_bytes_max: Size = Size::kib(16), in Size::bytes(256)..=Size::mib(1);
        /// Headers of a frame.
        headers_max: usize = 64, in 1..=1_000;
        /// Bytes of a frame's body.
        body_bytes_max: Size = Size::mib(1), in Size::bytes(1)..=Size::gib(1);
        /// Bytes of an id of a subscription, transaction or receipt, or of a key.
        id_bytes_max: usize = 255, in 1..=4_096;
        /// How long a connection may be open without CONNECT.
        connect_timeout: Period = Period::secs(10), in Period::millis(10)..=Period::hours(1);
        /// How long a frame may take to arrive.
        frame_timeout: Period = Period::secs(30), in Period::millis(10)..=Period::hours(1);
        /// How often the server can send a heart-beat.
        heartbeat_send: Period = Period::secs(1), in Period::millis(0)..=Period::hours(1);
        /// How often it wants one.
        heartbeat_expect: Period = Period::secs(10), in Period::millis(0)..=Period::hours(1);
        /// How long a connection may be silent before the system probes whether its peer is there.
        keepalive: Period = Period::secs(25), in Period::secs(1)..=Period::days(1);
        /// How long a client that was told goodbye may take to hang up.
        linger: Period = Period::secs(2), in Period::millis(1)..=Period::minutes(10);
        /// Subscriptions of one connection.
        subscriptions_max: usize = 1_000, in 1..=1_000_000;
        /// Transactions that one connection may have open.
        transactions_max: usize = 16, in 1..=100_000;
        /// Frames that all open transactions of a connection may hold together.
        transaction_frames_max: usize = 10_000, in 1..=10_000_000;
        /// Bytes that all open transactions of a connection may hold together.
        transaction_bytes_max: Size = Size::mib(4), in Size::kib(1)..=Size::gib(1);
        /// Messages that a subscription has unacknowledged if it does not say.
        prefetch_default: usize = 100, in 1..=1_000_000;
        /// How many it may ask for.
        prefetch_max: usize = 10_000, in 1..=1_000_000;
        /// How many all subscriptions of a connection may ask for together.
        prefetch_total_max: usize = 100_000, in 1..=100_000_000;
    }
}

section! {
    /// A WebSocket at `/echo` that sends back what it gets, with limits of its own.
    Echo {
        /// Whether it is there.
        enabled: bool = false;
        /// Bytes of a message, all its fragments together.
        message_bytes_max: Size = Size::mib(64), in Size::bytes(1)..=Size::gib(1);
        /// Bytes of a single frame's payload.
        frame_bytes_max: Size = Size::mib(64), in Size::bytes(125)..=Size::gib(1);
        /// Fragments of a message.
        fragments_max: usize = 1_000_000, in 1..=100_000_000;
    }
}

section! {
    /// The page at `/`, for people with a browser.
    Console {
        /// Whether it is there.
        enabled: bool = true;
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
        unsent_bytes_max: Size = Size::kib(16), in Size::bytes(0)..=Size::gib(1);
        /// The kernel's send buffer of a connection; 0 leaves it to the kernel.
        send_buffer_bytes: Size = Size::kib(256), in Size::bytes(0)..=Size::gib(1);
        /// Bytes of a connection's own replies, pings and goodbyes that wait to leave.
        outbox_bytes_max: Size = Size::kib(256), in Size::kib(4)..=Size::gib(1);
    }
}

section! {
    /// Bounds on the native protocol.
    Native {
        /// How deep arrays and objects may nest.
        depth_max: usize = 64, in 1..=128;
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

section! {
    /// What is logged, and in what form.
    Log {
        /// How much.
        level: LogLevel = LogLevel::Info;
        /// In what form.
        format: LogFormat = LogFormat::Text;
    }
}

/// How much is logged: each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs somebody's attention.
    Error,
    /// What may come to need it.
    Warn,
    /// What an operator likes to know.
    Info,
    /// What each connection does.
    Debug,
    /// Everything.
    Trace,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line, for machines.
    Json,
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

impl LogLevel {
    /// The word for it in the configuration, which is also a directive for a log filter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

#[cfg(test)]
mod tests;
