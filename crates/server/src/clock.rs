//! The time that all of the server goes by: milliseconds since the Unix epoch that never run backwards.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock as it stood at the start, carried on by the monotonic one.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    /// Reads both clocks once.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: since_epoch.as_millis() as u64 }
    }

    /// Now.
    pub fn now_ms(&self) -> u64 {
        self.started_ms + self.started.elapsed().as_millis() as u64
    }
}
