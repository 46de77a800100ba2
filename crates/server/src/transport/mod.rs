//! What a connection can be: a request and its answer, a wait, a stream, a WebSocket. Each is a file; each reads, asks the engine
//! or the hub, and says how its bytes are to leave.

pub(crate) mod answer;
pub(crate) mod elsewhere;
mod handshake;
pub(crate) mod http;
mod native;
pub(crate) mod poll;
pub(crate) mod publish;
mod resource;
pub(crate) mod start;
pub(crate) mod stomp;
pub(crate) mod stream;
pub(crate) mod tcp;
pub(crate) mod udp;
pub(crate) mod websocket;
