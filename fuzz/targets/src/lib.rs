//! What must hold for any bytes from outside: a function for each decoder, which panics where it does not.
//!
//! `cargo test -p bongsu-fuzz-targets` replays `fuzz/corpus/<target>/` and then mutates it for a bounded number of runs;
//! `fuzz/libfuzzer` gives the same functions to libFuzzer, for hours. A new decoder is a function, a row of [`TARGETS`], a
//! folder of hand-made inputs, and a line in `fuzz/libfuzzer`.

mod client;
mod config;
mod handshake;
mod http;
mod json;
pub mod mutate;
mod names;
mod proxy;
mod snapshot;
mod stomp;
mod udp;
mod websocket;

/// A decoder's name, which is also its folder in the corpus, and what must hold for it.
pub type Target = (&'static str, fn(&[u8]));

/// Every decoder of bytes from outside.
pub const TARGETS: &[Target] = &[
    ("channel_name", names::channel_name),
    ("channel_pattern", config::channel_pattern),
    ("composite_cursor", names::composite_cursor),
    ("config_file", config::config_file),
    ("cursor_parse", names::cursor_parse),
    ("event_source", client::event_source),
    ("forwarded_header", proxy::forwarded_header),
    ("http_request", http::http_request),
    ("json_check", json::json_check),
    ("multipart_parts", client::multipart_parts),
    ("native_decode", json::native_decode),
    ("proxy_preamble", proxy::proxy_preamble),
    ("publish_line", json::publish_line),
    ("snapshot_read", snapshot::snapshot_read),
    ("start_query", http::start_query),
    ("stomp_decode", stomp::stomp_decode),
    ("stomp_session", stomp::stomp_session),
    ("udp_datagram", udp::udp_datagram),
    ("udp_told", udp::udp_told),
    ("websocket_decode", websocket::websocket_decode),
    ("websocket_deflate", websocket::websocket_deflate),
    ("websocket_handshake", handshake::websocket_handshake),
];

/// The function of a target. For libFuzzer's mains, each of which runs one.
pub fn target(name: &str) -> fn(&[u8]) {
    let (_, check) = TARGETS.iter().find(|(known, _)| *known == name).expect("a name from TARGETS");
    *check
}
