//! `bongsu bench`: puts load on this server and on others, checks every message, and tells what it cost.

mod ceiling;
mod compare;
mod progress;
mod run;
mod techniques;

use std::path::Path;

use bongsu_lab::bench::{BenchFault, Start};
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{EXIT_CODES, Exit, Failure};

/// Put load on a server, check every message, and tell what it cost.
///
/// Every message carries a stamp, so that loss, repetition and wrong order are seen at each subscriber. At a rate, latency counts
/// from the moment a publication was due, whatever the server did meanwhile (no coordinated omission). Without --url or --target
/// a server is started for the run and ended after it. `bench` alone is `bench run`.
///
/// Figures of one machine say little about another: quote ratios from one `bench compare`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Bench {
    #[command(subcommand)]
    command: Option<What>,
    #[command(flatten)]
    run: run::Run,
}

#[derive(Debug, Subcommand)]
enum What {
    Run(Box<run::Run>),
    Ceiling(ceiling::CeilingArgs),
    Compare(compare::CompareArgs),
    Techniques(techniques::TechniquesArgs),
}

impl Bench {
    /// Does what was asked.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command.unwrap_or_else(|| What::Run(Box::new(self.run))) {
            What::Run(run) => run.run(),
            What::Ceiling(ceiling) => ceiling.run(),
            What::Compare(compare) => compare.run(),
            What::Techniques(techniques) => techniques.run(),
        }
    }
}

/// How servers are started: this program is one of them.
fn start() -> Result<Start, Failure> {
    let itself = std::env::current_exe().map_err(|error| Failure::new(Exit::Failure, error))?;
    bongsu_lab::bench::make_room();
    end_servers_with_us();
    Ok(Start { itself })
}

/// A signal that ends the measurement ends its servers too.
fn end_servers_with_us() {
    std::thread::spawn(|| {
        super::block_on(async {
            let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
            if let (Ok(mut terminate), Ok(mut interrupt)) = signals {
                tokio::select! {
                    _ = terminate.recv() => (),
                    _ = interrupt.recv() => (),
                }
                bongsu_lab::bench::end_all();
                std::process::exit(Exit::Failure as i32);
            }
            Exit::Failure.into()
        })
    });
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| Failure::new(Exit::Failure, format!("cannot write {}: {error}", file.display())))
}

fn failed(fault: BenchFault) -> Failure {
    let exit = match fault {
        BenchFault::Text { .. } | BenchFault::Sense(_) => Exit::Usage,
        BenchFault::Run(bongsu_lab::load::RunFault::Plan(_)) => Exit::Usage,
        BenchFault::Run(bongsu_lab::load::RunFault::ClosedEarly { ready: 0 }) => Exit::CannotConnect,
        _ => Exit::Failure,
    };
    Failure::new(exit, fault)
}

/// A report as JSON.
fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(Exit::Failure, error))?;
    Ok(text + "\n")
}

const EXAMPLES: &str = "\
Examples:
  bongsu bench                                        1,000 WebSockets of one channel, one publication in flight
  bongsu bench --rate 300 --duration 10s              300 publications a second, latency from when each was due
  bongsu bench --window 64 --transport sse            as many as it takes, 64 in flight, over server-sent events
  bongsu bench --transport poll --poll-interval 5s --rate 10 --subscribers 500
  bongsu bench --idle --subscribers 10000             memory of a silent connection, connections opened a second
  bongsu bench --url http://127.0.0.1:8080 --server-pid 4711 --html report.html --json report.json
  bongsu bench --target bench/targets/nats.toml       another server, described by a file
  bongsu bench compare bench/goals.toml --html compare.html
  bongsu bench techniques --out docs/performance/     which technique when: plots
  bongsu bench ceiling --http 127.0.0.1:9000          the least that a server can do, to compare with";
