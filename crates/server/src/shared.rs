//! What all workers of a process share.

use std::net::SocketAddr;
use std::sync::Arc;

use bongsu_core::directory::{DirectoryLimits, Rules};

use crate::admission::{Admission, AdmissionLimits};
use crate::arrival::Proxies;
use crate::clock::Clock;
use crate::config::{ChannelRules, Config, QueueTables, WebSocket};
use crate::engine::{Engine, QueueBounds};
use crate::http::HeadLimits;
use crate::http::guard::Guard;
use crate::metrics::Metrics;
use crate::serve::Addresses;
use crate::tls::Tls;
use crate::worker::Door;
use bongsu_core::native::NativeLimits;
use bongsu_core::stomp::StompLimits;
use bongsu_core::websocket::deflate::{DeflateConfig, WINDOW_BITS_MIN};

/// Shared by reference; nothing here changes but what locks itself. A new configuration is a new `Shared` around the same engine.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) rules: ChannelRules,
    pub(crate) engine: Arc<Engine>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    guard: Guard,
    /// For the listener of the numbers, which has an address of its own.
    admin_guard: Guard,
    pub(crate) admission: Arc<Admission>,
    pub(crate) admission_limits: AdmissionLimits,
    pub(crate) proxies: Proxies,
    pub(crate) head_limits: HeadLimits,
    pub(crate) native_limits: NativeLimits,
    pub(crate) stomp_limits: StompLimits,
    /// What is agreed to when a WebSocket opens, and how its messages are compressed.
    pub(crate) deflate: DeflateConfig,
    pub(crate) workers: usize,
    /// Where origins are listed, caches must keep the answers to different ones apart.
    pub(crate) vary_origin: Option<&'static str>,
    /// How TLS is spoken, if it is.
    pub(crate) tls: Option<Arc<Tls>>,
    addresses: Addresses,
}

impl Shared {
    /// Everything that a configuration decides, for a server that listens at these addresses.
    pub(crate) fn new(
        config: Config,
        addresses: Addresses,
        engine: Arc<Engine>,
        metrics: Arc<Metrics>,
        workers: usize,
        tls: Option<Arc<Tls>>,
    ) -> Self {
        Self::with(config, addresses, engine, metrics, workers, tls, Arc::default())
    }

    fn with(
        config: Config,
        addresses: Addresses,
        engine: Arc<Engine>,
        metrics: Arc<Metrics>,
        workers: usize,
        tls: Option<Arc<Tls>>,
        admission: Arc<Admission>,
    ) -> Self {
        let guard = |address: Option<SocketAddr>| {
            Guard::new(address.unwrap_or(([127, 0, 0, 1], 0).into()), &config.http.hosts, &config.http.origins)
        };
        Self {
            rules: ChannelRules::new(&config),
            clock: engine.clock(),
            engine,
            metrics,
            guard: guard(addresses.http),
            admin_guard: guard(addresses.admin),
            admission,
            admission_limits: AdmissionLimits::new(&config),
            proxies: Proxies::new(&config),
            head_limits: HeadLimits { bytes_max: config.http.head_bytes_max.as_usize(), headers_max: config.http.headers_max },
            native_limits: NativeLimits {
                depth_max: config.native.depth_max,
                payload_bytes_max: config.http.body_bytes_max.as_usize(),
                ..NativeLimits::default()
            },
            stomp_limits: stomp_limits(&config),
            deflate: deflate(&config.websocket),
            workers,
            vary_origin: (!config.http.origins.is_empty()).then_some("Origin"),
            tls,
            addresses,
            config,
        }
    }

    /// The authority of `https://` for whoever knows this server by this `Host`.
    pub(crate) fn http_address_for(&self, host: &str) -> String {
        let name = crate::http::guard::host_name(host);
        match self.addresses.http.map_or(0, |address| address.port()) {
            443 => name.to_owned(),
            port => format!("{name}:{port}"),
        }
    }

    /// The same server under another configuration.
    pub(crate) fn under(&self, config: Config) -> Self {
        let (engine, metrics, admission) = (Arc::clone(&self.engine), Arc::clone(&self.metrics), Arc::clone(&self.admission));
        Self::with(config, self.addresses, engine, metrics, self.workers, self.tls.clone(), admission)
    }

    /// Who may ask at a listener.
    pub(crate) fn guard(&self, door: Door) -> &Guard {
        if door == Door::Admin { &self.admin_guard } else { &self.guard }
    }
}

/// An engine without channels, under the bounds of a configuration.
pub(crate) fn engine_of(config: &Config, secret: [u8; 16], workers: usize, clock: Clock) -> Engine {
    let total_bytes_max = config.history.total_bytes_max.as_usize();
    let engine = Engine::new(secret, directory_limits(config), total_bytes_max, rules_of(config), workers, clock);
    engine.queues().reconfigure(&queue_bounds(config));
    engine
}

/// The bounds on queues.
pub(crate) fn queue_bounds(config: &Config) -> QueueBounds {
    let (queues, tables) = (&config.queues, QueueTables::new(config));
    let total_bytes_max = queues.total_bytes_max.as_usize();
    QueueBounds { queues_max: queues.queues_max, total_bytes_max, rules: Arc::new(move |name| tables.of(name)) }
}

/// The bounds on all channels together.
pub(crate) fn directory_limits(config: &Config) -> DirectoryLimits {
    DirectoryLimits {
        channels_max: config.history.channels_max,
        unused_after_ms: config.history.unused_after.as_millis(),
        forgotten_max: config.history.forgotten_max,
    }
}

/// The bounds on each channel.
pub(crate) fn rules_of(config: &Config) -> Rules {
    let rules = ChannelRules::new(config);
    Arc::new(move |name| rules.of(name))
}

fn stomp_limits(config: &Config) -> StompLimits {
    let stomp = &config.stomp;
    StompLimits {
        head_bytes_max: stomp.head_bytes_max.as_usize(),
        headers_max: stomp.headers_max,
        body_bytes_max: stomp.body_bytes_max.as_usize(),
        id_bytes_max: stomp.id_bytes_max,
        depth_max: config.native.depth_max,
        subscriptions_max: stomp.subscriptions_max,
        transactions_max: stomp.transactions_max,
        transaction_frames_max: stomp.transaction_frames_max,
        transaction_bytes_max: stomp.transaction_bytes_max.as_usize(),
        prefetch_default: stomp.prefetch_default,
        prefetch_max: stomp.prefetch_max,
        prefetch_total_max: stomp.prefetch_total_max,
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
