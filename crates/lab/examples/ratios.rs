//! Servers beside each other: runs them interleaved under the load driver and prints medians, spreads and ratios to the first.
//!
//! ```sh
//! cargo run --release -p bongsu-lab --example ratios -- compare \
//!     --server 'ceiling=@ceiling' --server 'bongsu=target/release/bongsu serve --http 127.0.0.1:0 --ports-file {ports}'
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bongsu_lab::ceiling::{Ceiling, Writing};
use bongsu_lab::load::{self, Filling, Pace, Plan, Report, Target, Transport};
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Run the bare server until it is ended.
    Ceiling(CeilingArgs),
    /// Put one load on a server that runs already.
    Load(LoadArgs),
    /// Run servers interleaved.
    Compare(CompareArgs),
}

#[derive(Args)]
struct CeilingArgs {
    #[arg(long, default_value = "127.0.0.1:0")]
    http: SocketAddr,
    /// Written once it listens: {"http":"127.0.0.1:41234"}
    #[arg(long)]
    ports_file: Option<PathBuf>,
    /// One write for each message.
    #[arg(long)]
    unbatched: bool,
}

#[derive(Args)]
struct LoadArgs {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    pid: Option<u32>,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Args)]
struct CompareArgs {
    /// NAME=COMMAND with {ports} for the ports file; the command @ceiling is the bare server. The first is what ratios refer to.
    /// A name that ends in +silent has one more subscriber, which reads nothing.
    #[arg(long = "server", required = true)]
    servers: Vec<String>,
    /// Which scenarios, by their names; all if none is given.
    #[arg(long = "scenario")]
    scenarios: Vec<String>,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that each run counts.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Where all reports go, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Args, Clone)]
struct Shape {
    #[arg(long, default_value = "ws")]
    transport: String,
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    #[arg(long, default_value_t = 1)]
    channels: usize,
    #[arg(long, default_value_t = 1)]
    subscriptions: usize,
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
    /// Publications a second, instead of a window.
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value_t = 128)]
    payload: usize,
    /// Payloads of JSON instead of one character.
    #[arg(long)]
    json: bool,
    /// Offer permessage-deflate.
    #[arg(long)]
    deflate: bool,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[arg(long, default_value_t = 0)]
    slow: usize,
    #[arg(long, default_value_t = 0.0)]
    slow_pause: f64,
    /// Subscribe path for several channels on a connection.
    #[arg(long)]
    subscribe_path: Option<String>,
}

/// A name, and what differs from a thousand WebSocket subscribers of one channel with one publication in flight.
type Scenario = (&'static str, fn(&mut Shape));

const SCENARIOS: [Scenario; 29] = [
    ("ws-1", |_| ()),
    ("ws-64", |shape| shape.in_flight = 64),
    ("ws-20/s", |shape| shape.rate = Some(20.0)),
    ("ws-300/s", |shape| shape.rate = Some(300.0)),
    ("sse-1", |shape| shape.transport = "sse".into()),
    ("sse-64", |shape| (shape.transport, shape.in_flight) = ("sse".into(), 64)),
    ("ndjson-1", |shape| shape.transport = "ndjson".into()),
    ("ndjson-64", |shape| (shape.transport, shape.in_flight) = ("ndjson".into(), 64)),
    ("long-poll-1", |shape| shape.transport = "long-poll".into()),
    ("long-poll-64", |shape| (shape.transport, shape.in_flight) = ("long-poll".into(), 64)),
    ("ws-1000-channels-1", |shape| shape.channels = 1000),
    ("ws-1000-channels-64", |shape| (shape.channels, shape.in_flight) = (1000, 64)),
    ("ws-10-subscriptions-1", |shape| (shape.subscribers, shape.channels, shape.subscriptions) = (100, 100, 10)),
    ("ws-10-subscriptions-64", |shape| {
        (shape.subscribers, shape.channels, shape.subscriptions, shape.in_flight) = (100, 100, 10, 64);
    }),
    ("ws-10-subscriptions-2000/s", |shape| {
        (shape.subscribers, shape.channels, shape.subscriptions, shape.rate) = (100, 100, 10, Some(2000.0));
    }),
    ("ws-laggard-1", |shape| (shape.slow, shape.slow_pause) = (1, 0.5)),
    ("ws-laggard-64", |shape| (shape.slow, shape.slow_pause, shape.in_flight) = (1, 0.5, 64)),
    ("ws-100-4k-300/s", |shape| (shape.subscribers, shape.payload, shape.rate) = (100, 4096, Some(300.0))),
    ("deflate-64", |shape| json(shape, 64, 50.0)),
    ("deflate-1024", |shape| json(shape, 1024, 50.0)),
    ("deflate-16384", |shape| json(shape, 16_384, 20.0)),
    ("idle-ws-10000", |shape| (shape.subscribers, shape.seconds) = (10_000, 0.0)),
    ("tcp-1", |shape| shape.transport = "tcp".into()),
    ("tcp-64", |shape| (shape.transport, shape.in_flight) = ("tcp".into(), 64)),
    ("stomp-1", |shape| shape.transport = "stomp".into()),
    ("stomp-64", |shape| (shape.transport, shape.in_flight) = ("stomp".into(), 64)),
    ("stomp+ws-64", |shape| (shape.transport, shape.in_flight) = ("stomp+ws".into(), 64)),
    ("idle-tcp", |shape| (shape.transport, shape.subscribers, shape.seconds) = ("tcp".into(), 10_000, 0.0)),
    ("idle-sse-10000", |shape| (shape.transport, shape.subscribers, shape.seconds) = ("sse".into(), 10_000, 0.0)),
];

/// Payloads of JSON at a rate, to subscribers that offer compression.
fn json(shape: &mut Shape, payload: usize, rate: f64) {
    (shape.json, shape.deflate, shape.payload, shape.rate) = (true, true, payload, Some(rate));
}

fn main() -> Result<(), Box<dyn Error>> {
    match Cli::parse().command {
        What::Ceiling(args) => ceiling(&args),
        What::Load(args) => {
            let report = load::run(&plan(&args.shape, args.address, args.pid)?)?;
            println!("{}", serde_json::to_string_pretty(&report)?);
            Ok(())
        }
        What::Compare(args) => compare(&args),
    }
}

fn ceiling(args: &CeilingArgs) -> Result<(), Box<dyn Error>> {
    let server = Ceiling::bind(args.http, if args.unbatched { Writing::Unbatched } else { Writing::Batched })?;
    let ports = format!("{{\"http\":\"{}\"}}", server.local_addr()?);
    match &args.ports_file {
        Some(file) => {
            let unfinished = file.with_extension("unfinished");
            std::fs::write(&unfinished, ports)?;
            std::fs::rename(unfinished, file)?;
        }
        None => println!("{ports}"),
    }
    Ok(server.run()?)
}

fn plan(shape: &Shape, address: SocketAddr, pid: Option<u32>) -> Result<Plan, Box<dyn Error>> {
    let transport = Transport::named(&shape.transport).ok_or_else(|| format!("no transport {}", shape.transport))?;
    let mut target = Target::plain(address, transport);
    if let Some(path) = &shape.subscribe_path {
        target.subscribe_path = path.clone();
    } else if shape.subscriptions > 1 {
        target.subscribe_path = "/subscribe?{channels}".into();
    }
    target.subscribe_extensions = shape.deflate.then(|| "permessage-deflate; server_no_context_takeover".to_owned());
    Ok(Plan {
        server_pid: pid,
        subscribers: shape.subscribers,
        channels: shape.channels,
        subscriptions_per_connection: shape.subscriptions,
        pace: shape.rate.map_or(Pace::InFlight(shape.in_flight), Pace::PerSecond),
        payload_bytes: shape.payload,
        filling: if shape.json { Filling::Json } else { Filling::Same },
        warm_up: Duration::from_secs_f64((shape.seconds / 4.0).min(1.0)),
        duration: Duration::from_secs_f64(shape.seconds),
        slow_subscribers: shape.slow,
        slow_pause: Duration::from_secs_f64(shape.slow_pause),
        ..Plan::new(target)
    })
}

/// A server that was started here and is ended here.
struct Server {
    child: Child,
    addresses: BTreeMap<String, SocketAddr>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(command: &str) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let ports = folder.path().join("ports.json");
        let itself = std::env::current_exe()?;
        let command = match command {
            "@ceiling" => format!("{} ceiling --ports-file {{ports}}", itself.display()),
            "@ceiling-unbatched" => format!("{} ceiling --unbatched --ports-file {{ports}}", itself.display()),
            other => other.to_owned(),
        };
        let command = command.replace("{ports}", &ports.display().to_string());
        let mut words = command.split_whitespace();
        let program = words.next().ok_or("a server without a command")?;
        let mut child = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        match addresses(&ports) {
            Ok(addresses) => Ok(Self { child, addresses, _folder: folder }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(format!("{command}: {error}").into())
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().and_then(|()| self.child.wait()).is_err() {
            eprintln!("process {} had ended by itself", self.child.id());
        }
    }
}

fn addresses(ports: &Path) -> Result<BTreeMap<String, SocketAddr>, Box<dyn Error>> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if let Ok(text) = std::fs::read_to_string(ports) {
            return Ok(serde_json::from_str(&text)?);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err("it wrote no ports file within ten seconds".into())
}

fn compare(args: &CompareArgs) -> Result<(), Box<dyn Error>> {
    let servers: Vec<(&str, &str)> =
        args.servers.iter().map(|server| server.split_once('=').ok_or("write NAME=COMMAND")).collect::<Result<_, _>>()?;
    let mut all = BTreeMap::new();
    for (name, change) in SCENARIOS {
        if !args.scenarios.is_empty() && !args.scenarios.iter().any(|wanted| wanted == name) {
            continue;
        }
        let mut shape = Shape::try_from_defaults(args.seconds)?;
        change(&mut shape);
        let mut reports: Vec<Vec<Report>> = vec![Vec::new(); servers.len()];
        for _ in 0..args.rounds {
            for (place, (_, command)) in servers.iter().enumerate() {
                let server = Server::start(command)?;
                let mut shape = shape.clone();
                if servers[place].0.ends_with("+silent") {
                    (shape.slow, shape.slow_pause) = (1, 3600.0);
                }
                let listener = Transport::named(&shape.transport).map_or("http", |transport| transport.way().listener);
                let address = *server.addresses.get(listener).ok_or_else(|| format!("the server has no address for {listener}"))?;
                match load::run(&plan(&shape, address, Some(server.child.id()))?) {
                    Ok(report) => reports[place].push(report),
                    Err(fault) => eprintln!("{name}: {}: {fault}", servers[place].0),
                }
            }
        }
        print(name, &servers, &reports);
        all.insert(name, servers.iter().map(|(server, _)| server.to_string()).zip(reports).collect::<BTreeMap<_, _>>());
    }
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&all)?)?;
    }
    Ok(())
}

impl Shape {
    fn try_from_defaults(seconds: f64) -> Result<Self, clap::Error> {
        let line = ["ratios", "load", "--address", "127.0.0.1:1"];
        match Cli::try_parse_from(line)?.command {
            What::Load(load) => Ok(Self { seconds, ..load.shape }),
            _ => unreachable!("the line says load"),
        }
    }
}

/// What is compared: its name, how it is read, how many decimals it deserves.
type Figure = (&'static str, fn(&Report) -> Option<f64>, usize);

const FIGURES: [Figure; 7] = [
    ("CPU µs/delivery", |report| report.server_cpu_us_per_delivery.filter(|_| report.deliveries > 0), 3),
    ("bytes/delivery", |report| (report.deliveries > 0).then_some(report.bytes_per_delivery), 1),
    ("deliveries/s", |report| (report.deliveries > 0).then_some(report.deliveries_per_second), 0),
    ("p50 µs", |report| (report.deliveries > 0).then_some(report.latency_us.p50 as f64), 0),
    ("p99 µs", |report| (report.deliveries > 0).then_some(report.latency_us.p99 as f64), 0),
    ("RSS B/idle connection", |report| report.rss_per_idle_connection, 0),
    ("opened/s", |report| Some(report.opened_per_second), 0),
];

fn print(scenario: &str, servers: &[(&str, &str)], reports: &[Vec<Report>]) {
    println!("\n{scenario}");
    println!("  {:<22} {:<14} {:>12} {:>12} {:>12} {:>7}", "", "", "median", "least", "most", "ratio");
    for (figure, read, decimals) in FIGURES {
        let mut first = None;
        for ((name, _), reports) in servers.iter().zip(reports) {
            let mut values: Vec<f64> = reports.iter().filter_map(read).collect();
            values.sort_by(f64::total_cmp);
            let (Some(least), Some(most)) = (values.first(), values.last()) else { continue };
            let median = values[values.len() / 2];
            let ratio = median / *first.get_or_insert(median);
            println!("  {figure:<22} {name:<14} {median:>12.decimals$} {least:>12.decimals$} {most:>12.decimals$} {ratio:>7.2}");
        }
    }
    for ((name, _), reports) in servers.iter().zip(reports) {
        for report in reports.iter().filter(|report| !report.is_clean()) {
            println!("  {name}: NOT CLEAN: {} lost, {} repeated, {} closed", report.lost, report.repeated, report.closed);
        }
        for report in reports.iter().filter(|report| report.slow_deliveries > 0) {
            println!("  {name}: slow subscribers got {} and missed {}", report.slow_deliveries, report.slow_lost);
        }
    }
}
