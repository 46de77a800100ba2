//! What bounds each way in: HTTP, HTTP/2, WebSocket, TCP, UDP, STOMP, and what is served beside them.

use serde::{Deserialize, Serialize};

use super::section::{self, section};
use super::{Period, Size};

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
    /// Bounds on the native protocol.
    Native {
        /// How deep arrays and objects may nest.
        depth_max: usize = 64, in 1..=128;
    }
}
