//! What all workers of a process share.

use crate::clock::Clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::http::HeadLimits;
use crate::http::guard::Guard;
use crate::metrics::Metrics;
use bongsu_core::native::NativeLimits;

/// Shared by reference; nothing here changes after the start but what locks itself.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) guard: Guard,
    pub(crate) head_limits: HeadLimits,
    pub(crate) native_limits: NativeLimits,
    pub(crate) workers: usize,
}
