//! What moves bytes: listeners, transports, workers and the engine.

pub mod config;
pub mod metrics;
pub mod serve;
