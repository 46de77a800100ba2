//! What moves bytes: listeners, transports, workers and the engine.

mod clock;
pub mod config;
mod connection;
mod deadlines;
mod descriptors;
mod engine;
mod front;
mod http;
mod http2;
mod link;
pub mod metrics;
pub mod serve;
mod shared;
mod tally;
mod transport;
mod worker;
