//! `bongsu bench run`: one load on one server.

use std::path::PathBuf;
use std::time::Duration;

use bongsu_lab::bench::{Publish, Scenario, TargetFile, page_of_run, run_table};
use bongsu_lab::load::{self, Filling, Progress, Report, TRANSPORTS, Transport};
use clap::Args;

use super::progress::Line;
use super::{failed, json, start, write};
use crate::cli::exit::{Exit, Failure};
use crate::cli::subscribe::duration;
use crate::cli::{print, say};

/// Put one load on one server (the default).
#[derive(Debug, Args)]
#[command(after_help = super::EXAMPLES)]
pub(super) struct Run {
    /// A server that runs already; without it, one is started.
    #[arg(long, conflicts_with = "target")]
    url: Option<String>,
    /// Another server, described by a file (see bench/targets).
    #[arg(long, value_name = "FILE")]
    target: Option<PathBuf>,
    /// The server's process, whose CPU time and memory are read; known by itself for a server that is started here.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Further words for the server that is started, such as '--workers 2 --set websocket.compression=false'.
    #[arg(long, value_name = "WORDS", default_value = "--workers 1", allow_hyphen_values = true)]
    serve: String,
    /// How subscribers receive.
    #[arg(long, short, value_parser = transport, default_value = "ws", help = transport_help())]
    transport: Transport,
    /// How many connections subscribe.
    #[arg(long, short, default_value_t = 1000)]
    subscribers: usize,
    /// How many connections publish: to each channel with --publish ws, else in all.
    #[arg(long, default_value_t = 1)]
    publishers: usize,
    /// How publications get to this server: ws (payloads alone), native (frames of bongsu.v1.json) or http (POSTs).
    #[arg(long, value_parser = publish, default_value = "ws")]
    publish: Publish,
    /// Over how many channels the subscribers are spread.
    #[arg(long, short, default_value_t = 1)]
    channels: usize,
    /// How many channels each connection subscribes to.
    #[arg(long, default_value_t = 1)]
    subscriptions: usize,
    /// Publications outstanding at a time: the next follows once every subscriber has the oldest [default: 1]
    #[arg(long, short, conflicts_with = "rate")]
    window: Option<usize>,
    /// Publications a second, instead of a window.
    #[arg(long, short)]
    rate: Option<f64>,
    /// Publish nothing: open the connections, and look at the memory.
    #[arg(long, conflicts_with_all = ["rate", "window"])]
    idle: bool,
    /// Bytes of a payload.
    #[arg(long, short, default_value_t = 128)]
    payload: usize,
    /// What payloads are made of: same (one character) or json (what compression has to do with).
    #[arg(long, value_parser = filling, default_value = "same")]
    filling: Filling,
    /// Offer permessage-deflate.
    #[arg(long)]
    deflate: bool,
    /// How long is counted.
    #[arg(long, short, value_parser = duration, default_value = "5s")]
    duration: Duration,
    /// How long is published before that [default: a quarter of it, at most 1s]
    #[arg(long, value_parser = duration)]
    warm_up: Option<Duration>,
    /// From one poll to the next.
    #[arg(long, value_parser = duration, default_value = "1s")]
    poll_interval: Duration,
    /// Connections opened a second [default: as many as the server takes]
    #[arg(long)]
    ramp: Option<f64>,
    /// How many of the subscribers are slow; nobody waits for them.
    #[arg(long, default_value_t = 0)]
    slow: usize,
    /// How long a slow one pauses before it reads what is there; 0s if it never reads.
    #[arg(long, value_parser = duration, default_value = "0s")]
    slow_pause: Duration,
    /// Write everything that was measured into this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report with plots into this file; it needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Run {
    /// Does what was asked.
    pub(super) fn run(self) -> Result<(), Failure> {
        let (start, scenario) = (start()?, self.scenario());
        let target = self.target_file()?;
        if let Some(missing) = start.missing(&target) {
            return Err(Failure::new(Exit::Failure, format!("{}: {missing}", target.name)));
        }
        let server = start.start(&target, "").map_err(failed)?;
        let address = server.address(self.transport.way().listener).map_err(failed)?;
        let pid = self.server_pid.or(server.pid());
        let plan = scenario.plan(&target, address, pid, self.duration.as_secs_f64()).map_err(failed)?;
        let plan = load::Plan { metrics: server.metrics(&target), ..plan };
        let line = Line::new();
        let watch = &mut |progress: Progress| {
            let share = if let Progress::Publishing { seconds, of, .. } = progress { seconds / of } else { 0.0 };
            line.show(&target.name, share, Some(progress));
        };
        let report = load::run_watched(&plan, watch).map_err(|fault| failed(fault.into()))?;
        drop(line);
        drop(server);
        self.tell(&target.name, &scenario, &report)
    }

    fn tell(&self, name: &str, scenario: &Scenario, report: &Report) -> Result<(), Failure> {
        let title = format!("{name}: {}", words(scenario));
        print(&format!("{title}\n{}", run_table(report)))?;
        if let Some(file) = &self.json {
            write(file, &json(&serde_json::json!({ "target": name, "scenario": scenario, "report": report }))?)?;
        }
        if let Some(file) = &self.html {
            write(file, &page_of_run(&title, report).map_err(failed)?)?;
            say(&format!("report: {}", file.display()));
        }
        match report.is_clean() {
            true => Ok(()),
            false => Err(Failure::new(
                Exit::Failure,
                "messages were lost, repeated or out of order, connections were closed, or counters do not add up",
            )),
        }
    }

    fn target_file(&self) -> Result<TargetFile, Failure> {
        match (&self.url, &self.target) {
            (Some(url), _) => Ok(TargetFile::itself_at(url)),
            (None, Some(file)) => TargetFile::read(file).map_err(failed),
            (None, None) => Ok(TargetFile::itself(&self.serve)),
        }
    }

    fn scenario(&self) -> Scenario {
        Scenario {
            transport: self.transport,
            subscribers: self.subscribers,
            publishers: self.publishers,
            channels: self.channels,
            subscriptions: self.subscriptions,
            window: self.window,
            rate: self.rate,
            payload_bytes: self.payload,
            payload: self.filling,
            deflate: self.deflate,
            publish: self.publish,
            seconds: self.idle.then_some(0.0),
            warm_up: self.warm_up.map(|time| time.as_secs_f64()),
            poll_interval: self.poll_interval.as_secs_f64(),
            ramp: self.ramp,
            slow_subscribers: self.slow,
            slow_pause: self.slow_pause.as_secs_f64(),
            ..Scenario::default()
        }
    }
}

/// A scenario in a line.
fn words(scenario: &Scenario) -> String {
    let Scenario { subscribers, channels, payload_bytes, .. } = scenario;
    let pace = match (scenario.seconds, scenario.rate) {
        (Some(0.0), _) => "idle".to_owned(),
        (_, Some(rate)) => format!("{rate} publications a second of {payload_bytes} bytes"),
        _ => format!("{} in flight of {payload_bytes} bytes", scenario.window.unwrap_or(1)),
    };
    format!("{subscribers} {} subscribers, {channels} channel(s), {pace}", scenario.transport.name())
}

fn transport(text: &str) -> Result<Transport, String> {
    Transport::named(text).ok_or_else(transport_help)
}

fn transport_help() -> String {
    let names: Vec<&str> = TRANSPORTS.iter().map(|way| way.name).collect();
    format!("How subscribers receive: {}", names.join(", "))
}

fn publish(text: &str) -> Result<Publish, String> {
    match text {
        "ws" => Ok(Publish::Ws),
        "native" => Ok(Publish::Native),
        "http" => Ok(Publish::Http),
        _ => Err("one of ws, native, http".to_owned()),
    }
}

fn filling(text: &str) -> Result<Filling, String> {
    match text {
        "same" => Ok(Filling::Same),
        "json" => Ok(Filling::Json),
        _ => Err("same or json".to_owned()),
    }
}
