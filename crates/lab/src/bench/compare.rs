//! Runs servers interleaved, round by round, so that what else the machine does falls on all of them alike.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::BenchFault;
use super::file::CompareFile;
use super::goal::Judgement;
use super::scenario::Scenario;
use super::server::Start;
use super::target::TargetFile;
use crate::load::{self, Plan, Progress, Report};

/// What a comparison showed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Results {
    /// What it is for.
    pub about: String,
    /// How often every run was made.
    pub rounds: usize,
    /// The target that ratios refer to.
    pub reference: String,
    /// Targets that were not run: their names, and what to do.
    pub skipped: Vec<(String, String)>,
    /// What was measured, a scenario after the other.
    pub scenarios: Vec<Compared>,
    /// The goals.
    pub goals: Vec<Judgement>,
}

/// A scenario's share of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// Of which sweep it is a part, and its value there.
    pub sweep: Option<(String, f64)>,
    /// How it was with each target.
    pub measured: Vec<Measured>,
}

/// A target's share of a scenario.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    /// The target's name; the reference's second go has ` again` behind it.
    pub target: String,
    /// A report for each run.
    pub reports: Vec<Report>,
    /// Why runs failed.
    pub faults: Vec<String>,
}

/// What is under way, for whoever watches.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// The scenario.
    pub scenario: &'a str,
    /// The target.
    pub target: &'a str,
    /// Runs that are done.
    pub done: usize,
    /// Runs that there will be.
    pub of: usize,
    /// About how many seconds all of them take.
    pub seconds: f64,
    /// How far this run has come.
    pub progress: Option<Progress>,
}

impl Results {
    /// What a target showed in a scenario.
    pub fn of(&self, scenario: &str, target: &str) -> Option<&Measured> {
        let compared = self.scenarios.iter().find(|compared| compared.name == scenario)?;
        compared.measured.iter().find(|measured| measured.target == target)
    }

    /// Whether every message of every run came once and in order, and every run could be made.
    pub fn is_clean(&self) -> bool {
        let mut all = self.scenarios.iter().flat_map(|compared| &compared.measured);
        all.all(|measured| measured.faults.is_empty() && measured.reports.iter().all(Report::is_clean))
    }
}

/// Runs everything in a compare file, and tells what is under way.
pub fn compare(
    file: &CompareFile,
    targets: &[TargetFile],
    start: &Start,
    watch: &mut dyn FnMut(Round<'_>),
    finished: &mut dyn FnMut(&Compared, &str),
) -> Results {
    let reference = file.reference(targets).to_owned();
    let skipped: Vec<(String, String)> = targets.iter().filter_map(|target| Some((target.name.clone(), start.missing(target)?))).collect();
    let (of, seconds) = extent(file, targets, start);
    let entries = entries(file, targets, start);
    let lanes: Vec<Vec<Lane<'_>>> = file.scenarios.iter().map(|scenario| lanes(scenario, &entries, &reference)).collect();
    let mut results = Results { about: file.about.clone(), rounds: file.rounds, reference, skipped, ..Results::default() };
    let mut done = 0;
    for (scenarios, lanes) in groups(&file.scenarios).map(|group| (&file.scenarios[group.clone()], &lanes[group])) {
        let mut all: Vec<Compared> = scenarios.iter().zip(lanes).map(|(scenario, lanes)| Compared::unmeasured(scenario, lanes)).collect();
        for _ in 0..file.rounds {
            for ((scenario, lanes), compared) in scenarios.iter().zip(lanes).zip(&mut all) {
                for (lane, measured) in lanes.iter().zip(&mut compared.measured) {
                    let round = Round { scenario: &scenario.name, target: &lane.name, done, of, seconds, progress: None };
                    watch(round);
                    let watch = &mut |progress| watch(Round { progress: Some(progress), ..round });
                    match run(scenario, lane.target, start, file.seconds, watch) {
                        Ok(report) => measured.reports.push(report),
                        Err(fault) => measured.faults.push(fault.to_string()),
                    }
                    done += 1;
                }
            }
        }
        all.iter().for_each(|compared| finished(compared, &results.reference));
        results.scenarios.extend(all);
    }
    results.goals = file.goals.iter().map(|goal| goal.judge(&results)).collect();
    results
}

impl Compared {
    fn unmeasured(scenario: &Scenario, lanes: &[Lane<'_>]) -> Self {
        let Scenario { name, about, sweep, .. } = scenario.clone();
        let measured = lanes.iter().map(|lane| Measured { target: lane.name.clone(), ..Measured::default() }).collect();
        Self { name, about, sweep, measured }
    }
}

/// Scenarios that are run interleaved: those that stand together and name the same group; else each is alone.
fn groups(scenarios: &[Scenario]) -> impl Iterator<Item = Range<usize>> {
    let together = |one: &Scenario, next: &Scenario| one.group.is_some() && one.group == next.group;
    scenarios.chunk_by(together).scan(0, |begin, group| {
        let range = *begin..*begin + group.len();
        *begin = range.end;
        Some(range)
    })
}

/// How many runs there are, and about how many seconds they take.
pub fn extent(file: &CompareFile, targets: &[TargetFile], start: &Start) -> (usize, f64) {
    let entries = entries(file, targets, start);
    let lanes = |scenario: &Scenario| lanes(scenario, &entries, file.reference(targets)).len() * file.rounds;
    let runs = file.scenarios.iter().map(lanes).sum();
    (runs, file.scenarios.iter().map(|scenario| scenario.takes(file.seconds) * lanes(scenario) as f64).sum())
}

/// The targets that can be run, and whether only where they are named.
fn entries<'a>(file: &CompareFile, targets: &'a [TargetFile], start: &Start) -> Vec<(&'a TargetFile, bool)> {
    let all = targets.iter().zip(&file.targets).filter(|(target, _)| start.missing(target).is_none());
    all.map(|(target, entry)| (target, entry.only_if_named)).collect()
}

/// A target's place in a scenario.
struct Lane<'a> {
    name: String,
    target: &'a TargetFile,
}

/// Who takes part; the reference a second time at the end.
fn lanes<'a>(scenario: &Scenario, entries: &[(&'a TargetFile, bool)], reference: &str) -> Vec<Lane<'a>> {
    let takes_part = |(target, only_if_named): &&(&TargetFile, bool)| {
        let named = scenario.targets.contains(&target.name);
        target.speaks(scenario.transport) && if scenario.targets.is_empty() { !only_if_named } else { named }
    };
    let mut lanes: Vec<Lane<'a>> =
        entries.iter().filter(takes_part).map(|(target, _)| Lane { name: target.name.clone(), target }).collect();
    let again =
        lanes.iter().find(|lane| lane.name == reference).map(|lane| Lane { name: format!("{reference} again"), target: lane.target });
    lanes.extend(again);
    lanes
}

/// One run against a server of its own.
pub(super) fn run(
    scenario: &Scenario,
    target: &TargetFile,
    start: &Start,
    seconds: f64,
    watch: &mut dyn FnMut(Progress),
) -> Result<Report, BenchFault> {
    let further = scenario.arguments.get(&target.name).map(String::as_str).unwrap_or_default();
    let server = start.start(target, further)?;
    let address = server.address(scenario.transport.way().listener)?;
    let plan = Plan { metrics: server.metrics(target), ..scenario.plan(target, address, server.pid(), seconds)? };
    Ok(load::run_watched(&plan, watch)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_group_run_interleaved() {
        let scenarios: Vec<Scenario> = [Some("a"), Some("a"), None, None, Some("b"), Some("a")]
            .map(|group| Scenario { group: group.map(str::to_owned), ..Scenario::default() })
            .into();
        assert_eq!(groups(&scenarios).collect::<Vec<_>>(), [0..2, 2..3, 3..4, 4..5, 5..6]);
    }
}
