//! What all workers of a process share.

use std::net::SocketAddr;
use std::sync::Arc;

use bongsu_core::directory::DirectoryLimits;

use crate::clock::Clock;
use crate::config::{ChannelRules, Config, WebSocket};
use crate::engine::Engine;
use crate::http::HeadLimits;
use crate::http::guard::Guard;
use crate::metrics::Metrics;
use bongsu_core::native::NativeLimits;
use bongsu_core::websocket::deflate::{DeflateConfig, WINDOW_BITS_MIN};

/// Shared by reference; nothing here changes after the start but what locks itself.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) guard: Guard,
    pub(crate) head_limits: HeadLimits,
    pub(crate) native_limits: NativeLimits,
    /// What is agreed to when a WebSocket opens, and how its messages are compressed.
    pub(crate) deflate: DeflateConfig,
    pub(crate) workers: usize,
    /// Where origins are listed, caches must keep the answers to different ones apart.
    pub(crate) vary_origin: Option<&'static str>,
}

impl Shared {
    /// Everything that a configuration decides, for a server that listens at `http`.
    pub(crate) fn new(config: Config, http: Option<SocketAddr>, workers: usize) -> Self {
        let clock = Clock::start();
        let directory = DirectoryLimits {
            channels_max: config.history.channels_max,
            unused_after_ms: config.history.unused_after.as_millis(),
            forgotten_max: config.history.forgotten_max,
        };
        let rules = ChannelRules::new(&config);
        let total_bytes_max = config.history.total_bytes_max.as_usize();
        let engine = Engine::new(rand::random(), directory, total_bytes_max, Arc::new(move |name| rules.of(name)), workers, clock);
        Self {
            engine,
            metrics: Metrics::new(workers),
            clock,
            guard: Guard::new(http.unwrap_or(([127, 0, 0, 1], 0).into()), &config.http.hosts, &config.http.origins),
            head_limits: HeadLimits { bytes_max: config.http.head_bytes_max.as_usize(), headers_max: config.http.headers_max },
            native_limits: NativeLimits {
                depth_max: config.native.depth_max,
                payload_bytes_max: config.http.body_bytes_max.as_usize(),
                ..NativeLimits::default()
            },
            deflate: deflate(&config.websocket),
            workers,
            vary_origin: (!config.http.origins.is_empty()).then_some("Origin"),
            config,
        }
    }
}

fn deflate(config: &WebSocket) -> DeflateConfig {
    DeflateConfig {
        enabled: config.compression,
        context_takeover: config.compression_context_takeover,
        window_bits_min: WINDOW_BITS_MIN,
        window_bits_max: config.compression_window_bits,
        level: config.compression_level,
        threshold_bytes: config.compression_threshold.as_usize(),
    }
}
