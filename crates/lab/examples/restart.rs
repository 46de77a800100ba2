//! A restart under load: mixed subscribers and publishers that never stop, a server that is ended and started again.
//!
//! ```sh
//! cargo build --release
//! cargo run --release -p bongsu-lab --example restart -- --binary target/release/bongsu
//! cargo run --release -p bongsu-lab --example restart -- --binary target/release/bongsu --crash
//! ```
//!
//! Ends with 1 if anybody missed anything without being told, got anything twice, or did not come back.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bongsu_lab::restart::{Plan, run};
use clap::Parser;

#[derive(Parser)]
struct Cli {
    /// The bongsu command.
    #[arg(long, default_value = "target/release/bongsu")]
    binary: PathBuf,
    /// How many subscribers, spread evenly over all transports.
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    #[arg(long, default_value_t = 4)]
    publishers: usize,
    /// Milliseconds between two publications of a publisher.
    #[arg(long, default_value_t = 200)]
    pause_ms: u64,
    /// Kill the server instead of ending it.
    #[arg(long)]
    crash: bool,
    /// A further argument for `bongsu serve`; may be given many times.
    #[arg(long = "argument", allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let cli = Cli::parse();
    let folder = tempfile::tempdir()?;
    let plan = Plan {
        binary: cli.binary,
        arguments: cli.arguments,
        data_dir: folder.path().join("data"),
        subscribers: cli.subscribers,
        publishers: cli.publishers,
        pause: Duration::from_millis(cli.pause_ms),
        before: Duration::from_secs(3),
        crash: cli.crash,
        patience: Duration::from_secs(60),
    };
    let report = run(&plan).await?;
    print!("{report}");
    let all = report.all();
    let count = plan.subscribers as u64;
    let gaps = if plan.crash { count } else { 0 };
    let well = all.back == count && all.whole == count && all.missing == 0 && all.silent == 0 && all.told_gap == gaps;
    let well = well && report.faults.is_empty() && (plan.crash || all.twice == 0);
    println!("{}", if well { "as promised" } else { "NOT as promised" });
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
