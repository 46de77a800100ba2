//! What is put on a server: a scenario of a compare file, or what the command line says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::BenchFault;
use super::target::TargetFile;
use crate::load::{Filling, Over, Pace, Plan, Target, Transport};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A load, by its differences from a thousand WebSocket subscribers of one channel with one publication of 128 bytes in flight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows, in a few words.
    pub about: String,
    /// How its subscribers receive.
    pub transport: Transport,
    /// How many connections subscribe.
    pub subscribers: usize,
    /// How many publish: to each channel, or to all where one connection can.
    pub publishers: usize,
    /// Over how many channels the subscribers are spread.
    pub channels: usize,
    /// How many channels each of them subscribes to.
    pub subscriptions: usize,
    /// So many publications outstanding. One, if there is no rate either.
    pub window: Option<usize>,
    /// So many publications a second instead.
    pub rate: Option<f64>,
    /// The payload's length.
    pub payload_bytes: usize,
    /// What it is filled with.
    pub payload: Filling,
    /// Whether WebSocket subscribers offer permessage-deflate.
    pub deflate: bool,
    /// How publications get to this project's server.
    pub publish: Publish,
    /// How long is counted, if not as long as everywhere. Zero only opens the connections and looks at the memory.
    pub seconds: Option<f64>,
    /// How long is published before that, if not a quarter of it and at most a second.
    pub warm_up: Option<f64>,
    /// Seconds from one poll to the next.
    pub poll_interval: f64,
    /// Connections opened a second; as many as the server takes, if nothing is said.
    pub ramp: Option<f64>,
    /// How many of the subscribers are slow.
    pub slow_subscribers: usize,
    /// Seconds that these pause before they read; zero if they never do.
    pub slow_pause: f64,
    /// Whether latency is only of the channels that no slow subscriber follows.
    pub latency_apart: bool,
    /// Scenarios that stand together and name the same group are run in turn, round by round, because they are set beside each other.
    pub group: Option<String>,
    /// Which targets it is put on; all, if none is named.
    pub targets: Vec<String>,
    /// Further words on the command line of a target, by its name.
    pub arguments: BTreeMap<String, String>,
    /// Turns it into several, one for each value.
    pub vary: Option<Vary>,
    /// Of which sweep it is a part, and its value there.
    #[serde(skip)]
    pub sweep: Option<(String, f64)>,
}

/// The one thing that changes in a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Vary {
    /// How many subscribe.
    Subscribers(Vec<usize>),
    /// How long the payload is.
    PayloadBytes(Vec<usize>),
    /// How many publications a second.
    Rate(Vec<f64>),
}

/// How publications get to this project's server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Publish {
    /// Payloads alone over a WebSocket for each channel, which hears itself.
    #[default]
    Ws,
    /// The native protocol over a WebSocket, for all channels.
    Native,
    /// A POST for each publication, on a connection that is kept.
    Http,
}

impl Publish {
    pub(super) fn apply(self, target: &mut Target) {
        match self {
            Self::Ws => (),
            Self::Native => {
                target.publish_path = "/channels/bench".to_owned();
                target.publish_subprotocol = Some("bongsu.v1.json".to_owned());
                target.publish_frame = r#"{"publish":"{channel}","data":{payload:json}}"#.to_owned();
            }
            Self::Http => {
                target.publish_over = Over::Http;
                target.publish_headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
            }
        }
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: String::new(),
            about: String::new(),
            transport: Transport::WebSocket,
            subscribers: 1000,
            publishers: 1,
            channels: 1,
            subscriptions: 1,
            window: None,
            rate: None,
            payload_bytes: 128,
            payload: Filling::Same,
            deflate: false,
            publish: Publish::Ws,
            seconds: None,
            warm_up: None,
            poll_interval: 1.0,
            ramp: None,
            slow_subscribers: 0,
            slow_pause: 0.0,
            latency_apart: false,
            group: None,
            targets: Vec::new(),
            arguments: BTreeMap::new(),
            vary: None,
            sweep: None,
        }
    }
}

impl Scenario {
    /// Those that it stands for: one for each value of its sweep.
    pub fn expand(&self) -> Vec<Self> {
        let with = |value: f64, change: &dyn Fn(&mut Self)| {
            let mut one =
                Self { vary: None, sweep: Some((self.name.clone(), value)), name: format!("{}-{value}", self.name), ..self.clone() };
            change(&mut one);
            one
        };
        match &self.vary {
            None => vec![self.clone()],
            Some(Vary::Subscribers(values)) => values.iter().map(|&value| with(value as f64, &|one| one.subscribers = value)).collect(),
            Some(Vary::PayloadBytes(values)) => values.iter().map(|&value| with(value as f64, &|one| one.payload_bytes = value)).collect(),
            Some(Vary::Rate(values)) => values.iter().map(|&value| with(value, &|one| one.rate = Some(value))).collect(),
        }
    }

    /// What varies, for the axis of a plot.
    pub fn axis(&self) -> Option<&'static str> {
        self.vary.as_ref().map(|vary| match vary {
            Vary::Subscribers(_) => "subscribers",
            Vary::PayloadBytes(_) => "bytes of a payload",
            Vary::Rate(_) => "publications a second",
        })
    }

    /// How it is for a run of so many seconds against a server at this address.
    pub fn plan(&self, file: &TargetFile, address: SocketAddr, pid: Option<u32>, seconds: f64) -> Result<Plan, BenchFault> {
        if self.window.is_some() && self.rate.is_some() {
            return Err(BenchFault::Sense(format!("{}: a window or a rate, not both", self.name)));
        }
        let mut target = file.target(address, self.transport, self.publish, self.subscriptions > 1)?;
        target.subscribe_extensions = self.deflate.then(|| "permessage-deflate; server_no_context_takeover".to_owned());
        let seconds = self.seconds.unwrap_or(seconds);
        Ok(Plan {
            server_pid: pid,
            subscribers: self.subscribers,
            publishers: self.publishers,
            channels: self.channels,
            subscriptions_per_connection: self.subscriptions,
            pace: match self.rate {
                Some(0.0) => Pace::Nothing,
                Some(rate) => Pace::PerSecond(rate),
                None => Pace::InFlight(self.window.unwrap_or(1)),
            },
            payload_bytes: self.payload_bytes,
            filling: self.payload,
            ramp_per_second: self.ramp,
            poll_interval: time("poll_interval", self.poll_interval)?,
            warm_up: time("warm_up", self.warm_up.unwrap_or((seconds / 4.0).min(1.0)))?,
            duration: time("seconds", seconds)?,
            slow_subscribers: self.slow_subscribers,
            slow_pause: time("slow_pause", self.slow_pause)?,
            latency_apart: self.latency_apart,
            ..Plan::new(target)
        })
    }

    /// How many bytes its messages under way may take in the kernel: each once where it was written and once where it is read.
    pub fn needs_bytes(&self) -> u64 {
        let under_way = self.window.unwrap_or(1).div_ceil(self.channels.max(1)) * self.subscriptions;
        self.subscribers as u64 * (2 * self.payload_bytes as u64 * under_way as u64 + CONNECTION_BYTES)
    }

    /// Why it is better not run on this machine, if it is.
    pub fn too_big(&self, available: Option<u64>) -> Option<String> {
        let (needs, available) = (self.needs_bytes(), available?);
        let mib = |bytes: u64| bytes / 1_048_576;
        let words = || format!("{} may need {} MiB of socket buffers, and there are {}", self.name, mib(needs), mib(available));
        (needs > available).then(words)
    }

    /// About how long a run takes, for whoever waits.
    pub fn takes(&self, seconds: f64) -> f64 {
        let seconds = self.seconds.unwrap_or(seconds);
        let warm_up = self.warm_up.unwrap_or((seconds / 4.0).min(1.0));
        let settling = if self.slow_subscribers > 0 { SETTLING_SECONDS } else { 0.0 };
        seconds + warm_up + settling + STARTING_SECONDS + self.subscribers as f64 / self.ramp.unwrap_or(OPENED_PER_SECOND)
    }
}

fn time(name: &str, seconds: f64) -> Result<Duration, BenchFault> {
    Duration::try_from_secs_f64(seconds).map_err(|_| BenchFault::Sense(format!("{name} = {seconds}: seconds, zero or more")))
}

const SETTLING_SECONDS: f64 = 1.0;
/// What the two ends of an open connection take in the kernel.
const CONNECTION_BYTES: u64 = 8 * 1024;
const STARTING_SECONDS: f64 = 0.6;
const OPENED_PER_SECOND: f64 = 10_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_a_scenario_for_each_value() {
        let text = "name = 'size'\nwindow = 64\nvary = { payload_bytes = [16, 1024] }";
        let scenario: Scenario = toml::from_str(text).expect("a scenario");
        let all = scenario.expand();
        let names: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.payload_bytes)).collect();
        assert_eq!(names, [("size-16", 16), ("size-1024", 1024)]);
        assert_eq!(scenario.axis(), Some("bytes of a payload"));
    }

    #[test]
    fn what_does_not_fit_into_memory_is_told() {
        let big = Scenario { name: "big".into(), subscribers: 10_000, payload_bytes: 65_536, ..Scenario::default() };
        assert_eq!(big.too_big(Some(1 << 30)).as_deref(), Some("big may need 1328 MiB of socket buffers, and there are 1024"));
        assert_eq!((big.too_big(Some(4 << 30)), big.too_big(None)), (None, None));
    }

    #[test]
    fn a_window_and_a_rate_are_one_too_many() {
        let scenario = Scenario { window: Some(1), rate: Some(1.0), ..Scenario::default() };
        let plan = scenario.plan(&TargetFile::itself(""), ([127, 0, 0, 1], 80).into(), None, 1.0);
        assert!(plan.is_err_and(|fault| fault.to_string().contains("not both")));
    }
}
