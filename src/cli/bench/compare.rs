//! `bongsu bench compare`: several servers, interleaved over several rounds.

use std::path::PathBuf;

use bongsu_lab::bench::{self, CompareFile, Results, Round, goals_table, page_of_comparison, scenario_table};
use clap::Args;

use super::progress::Line;
use super::{failed, json, start, write};
use crate::cli::exit::{Exit, Failure};
use crate::cli::{print, say};

/// Run servers interleaved under the same loads; print medians, spreads, ratios, and which goals were met.
///
/// FILE names the targets, the scenarios and the goals. Each run starts a server of its own and ends it. The target that ratios refer
/// to runs twice: how far its second lies from its first is the machine's noise. What is not installed is skipped by name, with how to
/// install it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bongsu bench compare bench/goals.toml --html goals.html --json goals.json
  bongsu bench compare bench/goals.toml --quick
  bongsu bench compare bench/goals.toml --scenario ws-64 --scenario sse --rounds 9

Exit codes: 0 everything was run and every message came; 1 messages were lost or runs failed; 2 something is wrong in FILE.
Goals that are not met do not change it.")]
pub(super) struct CompareArgs {
    /// The compare file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only this scenario, or those whose names begin so; may be given several times.
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// How often every run is made, in place of what the file says.
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each counts, where its scenario does not say.
    #[arg(long)]
    seconds: Option<f64>,
    /// One round of half a second each: shows that everything works, and no more.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Print what would be run, and about how long it would take.
    #[arg(long)]
    dry_run: bool,
    /// Write everything that was measured into this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a report with plots into this file; it needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl CompareArgs {
    /// Does what was asked.
    pub(super) fn run(self) -> Result<(), Failure> {
        let start = start()?;
        let (mut file, targets) = CompareFile::read(&self.file).map_err(failed)?;
        file.keep_scenarios(&self.scenarios).map_err(failed)?;
        let (rounds, seconds) = if self.quick { (Some(1), Some(0.5)) } else { (self.rounds, self.seconds) };
        file.rounds = rounds.unwrap_or(file.rounds).max(1);
        file.seconds = seconds.unwrap_or(file.seconds);
        for target in &targets {
            if let Some(missing) = start.missing(target) {
                say(&format!("SKIPPED {}: {missing}", target.name));
            }
        }
        for told in file.keep_what_fits(bench::buffer_bytes()) {
            say(&format!("SKIPPED {told}"));
        }
        let (runs, takes) = bench::extent(&file, &targets, &start);
        say(&format!("{runs} runs, about {:.0} minutes", (takes / 60.0).ceil()));
        if self.dry_run {
            return print(&file.scenarios.iter().map(|scenario| format!("{}\n", scenario.name)).collect::<String>());
        }
        let results = run(&file, &targets, &start)?;
        self.tell(&results)
    }

    fn tell(&self, results: &Results) -> Result<(), Failure> {
        print(&goals_table(&results.goals))?;
        if let Some(file) = &self.json {
            write(file, &json(results)?)?;
        }
        if let Some(file) = &self.html {
            write(file, &page_of_comparison(&format!("{}, compared", self.file.display()), results).map_err(failed)?)?;
            say(&format!("report: {}", file.display()));
        }
        match results.is_clean() {
            true => Ok(()),
            false => Err(Failure::new(
                Exit::Failure,
                "runs failed, messages were lost, repeated or out of order, or counters do not add up: see above",
            )),
        }
    }
}

fn run(file: &CompareFile, targets: &[bench::TargetFile], start: &bench::Start) -> Result<Results, Failure> {
    let line = Line::new();
    let mut unprinted = Ok(());
    let mut watch = |round: Round<'_>| {
        let what = format!("{} {} ({} of {})", round.scenario, round.target, round.done + 1, round.of);
        line.show(&what, round.done as f64 / round.of.max(1) as f64, round.progress);
    };
    let mut finished = |compared: &bench::Compared, reference: &str| {
        let printed = line.aside(|| print(&scenario_table(compared, reference)));
        if unprinted.is_ok() {
            unprinted = printed;
        }
    };
    let results = bench::compare(file, targets, start, &mut watch, &mut finished);
    unprinted.map(|()| results)
}
