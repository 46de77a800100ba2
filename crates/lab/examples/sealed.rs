//! What TLS costs where publications are delivered: the same load on `ws` and on `wss`, one after the other, and what idle connections hold.
//!
//! ```sh
//! cargo build --release
//! cargo run --release -p bongsu-lab --example sealed -- --binary target/release/bongsu
//! ```
//!
//! Ends with 1 if `wss` delivers less than half of `ws`, an idle connection holds more than 12 KiB, or anything was lost.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bongsu_lab::load::{self, Pace, Plan, Report, Target, Transport};
use bongsu_lab::server::ServerProcess;
use clap::Parser;

#[derive(Parser)]
struct Cli {
    /// The bongsu command.
    #[arg(long, default_value = "target/release/bongsu")]
    binary: PathBuf,
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// How many idle connections are opened.
    #[arg(long, default_value_t = 5000)]
    idle: usize,
    /// Publications in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    #[arg(long, default_value_t = 128)]
    payload_bytes: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How often each is run, in turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let cli = Cli::parse();
    let mut reports = [Vec::new(), Vec::new()];
    for _ in 0..cli.rounds.max(1) {
        for (sealed, reports) in [false, true].into_iter().zip(&mut reports) {
            reports.push(run(&cli, sealed, false)?);
        }
    }
    let idle = [run(&cli, false, true)?, run(&cli, true, true)?];
    let Cli { payload_bytes, in_flight, rounds, .. } = &cli;
    println!("| {payload_bytes} B, {in_flight} in flight, medians of {rounds} | deliveries/s | server CPU, us | idle RSS, KiB |");
    println!("|---|---|---|---|");
    let mut rates = [0.0; 2];
    for (index, name) in ["ws", "wss"].into_iter().enumerate() {
        let of = |pick: fn(&Report) -> f64| median(reports[index].iter().map(pick).collect());
        rates[index] = of(|report| report.deliveries_per_second);
        let cpu = of(|report| report.server_cpu_us_per_delivery.unwrap_or_default());
        let kib = idle[index].rss_per_idle_connection.unwrap_or_default() / 1024.0;
        println!("| {name} | {:.0} | {cpu:.3} | {kib:.2} |", rates[index]);
    }
    let ratio = rates[1] / rates[0];
    let lost: u64 = reports.iter().flatten().map(|report| report.lost + report.repeated).sum();
    let kib = idle[1].rss_per_idle_connection.unwrap_or_default() / 1024.0;
    println!("\nwss delivers {ratio:.2} of ws; {lost} lost or repeated");
    Ok(if ratio >= 0.5 && kib <= 12.0 && lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(cli: &Cli, sealed: bool, idle: bool) -> Result<Report, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let state = format!("tls.state_dir={}", folder.path().join("tls").display());
    let tls = ["--tls-self-signed", "--set", &state];
    let arguments = SERVE.into_iter().chain(tls.into_iter().filter(|_| sealed));
    let server = ServerProcess::start(&cli.binary, &folder.path().join("ports.json"), arguments)?;
    let mut target = Target::plain(server.http(), Transport::WebSocket);
    target.tls_ca = sealed.then(|| folder.path().join("tls/self-signed.pem"));
    let mut plan = Plan::new(target);
    plan.server_pid = Some(server.pid());
    plan.pace = Pace::InFlight(cli.in_flight);
    plan.payload_bytes = cli.payload_bytes;
    plan.subscribers = if idle { cli.idle } else { cli.subscribers };
    plan.duration = if idle { Duration::ZERO } else { Duration::from_secs_f64(cli.seconds) };
    Ok(load::run(&plan)?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

const SERVE: [&str; 6] = ["--http", "127.0.0.1:0", "--tcp", "off", "--stomp", "off"];
