//! What moves bytes: listeners, transports, workers and the engine.

mod admission;
pub mod advice;
mod arrival;
mod budget;
mod clock;
pub mod config;
mod connection;
mod console;
pub mod data_dir;
mod deadlines;
mod descriptors;
mod engine;
mod front;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod http2;
mod link;
mod listeners;
mod mailbox;
pub mod metrics;
mod networks;
mod pacing;
pub mod serve;
mod shared;
mod tally;
pub mod tls;
mod transport;
mod worker;
