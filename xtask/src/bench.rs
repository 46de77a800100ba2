//! `cargo xtask bench`: counts the instructions of the hot path under valgrind, and holds them against the baseline in the repository.
//!
//! Instructions, and not time: they are the same on a busy machine, so a change of a few per cent is a finding.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::{cargo, repository};

/// What to do with the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Hold them against the baseline.
    Check,
    /// Make them the baseline.
    Record,
}

/// The counts of all scenarios, and the compiler that they were made with.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    compiler: String,
    instructions: BTreeMap<String, u64>,
}

/// Reads the arguments.
pub(crate) fn plan(arguments: &[String]) -> Result<Plan, String> {
    match arguments {
        [] => Ok(Plan::Check),
        [flag] if flag == "--check" => Ok(Plan::Check),
        [flag] if flag == "--record" => Ok(Plan::Record),
        _ => Err("bench takes --check or --record".to_owned()),
    }
}

/// Counts, and tells whether all is within the tolerance.
pub(crate) fn run(plan: Plan) -> Result<bool, String> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: instruction counts: valgrind is not installed (apt-get install valgrind)");
        return Ok(true);
    }
    let mut counts = Counts { compiler: output(Command::new("rustc").arg("--version"))?.trim().to_owned(), instructions: BTreeMap::new() };
    for (package, bench) in PROGRAMS {
        let program = build(package, bench)?;
        let names = output(Command::new(&program))?;
        for name in names.lines() {
            counts.instructions.insert(name.to_owned(), instructions(&program, name)?);
        }
    }
    match plan {
        Plan::Record => {
            fs::write(baseline(), counts.to_text()).map_err(|fault| format!("the baseline cannot be written: {fault}"))?;
            print!("{}", counts.to_text());
            Ok(true)
        }
        Plan::Check => {
            let text = fs::read_to_string(baseline()).map_err(|fault| format!("there is no baseline ({fault}); --record makes one"))?;
            Ok(compare(&Counts::parse(&text)?, &counts))
        }
    }
}

/// Prints each scenario beside its baseline, and tells whether none costs more than it may.
fn compare(before: &Counts, now: &Counts) -> bool {
    if before.compiler != now.compiler {
        println!("note: the baseline is of {}, this is {}: a difference may be the compiler's", before.compiler, now.compiler);
    }
    let mut all_within = true;
    for (name, &count) in &now.instructions {
        let (verdict, within) = match before.instructions.get(name) {
            None => ("no baseline: --record".to_owned(), false),
            Some(&baseline) => verdict(baseline, count),
        };
        println!("{count:>12}  {name}: {verdict}");
        all_within &= within;
    }
    for name in before.instructions.keys().filter(|name| !now.instructions.contains_key(*name)) {
        println!("{:>12}  {name}: is gone; --record forgets it", "-");
        all_within = false;
    }
    println!("{}", if all_within { "all within the tolerance" } else { "FAILED: mend it, or, if it is worth its cost, --record" });
    all_within
}

/// How a count stands to its baseline. One that fell is no fault, and worth recording.
fn verdict(baseline: u64, count: u64) -> (String, bool) {
    let percent = (count as f64 - baseline as f64) * 100.0 / baseline as f64;
    let told = format!("{percent:+.2} %");
    match percent {
        percent if percent > TOLERANCE_PERCENT => (format!("{told}, over the tolerance of {TOLERANCE_PERCENT} %"), false),
        percent if percent < -TOLERANCE_PERCENT => (format!("{told}, better: worth a --record"), true),
        _ => (told, true),
    }
}

/// Instructions of one repetition: two runs differ by nothing else than how many there are.
fn instructions(program: &PathBuf, name: &str) -> Result<u64, String> {
    let [fewer, more] = [TIMES, 2 * TIMES].map(|times| collected(program, name, times));
    Ok((more?.saturating_sub(fewer?)) / TIMES)
}

fn collected(program: &PathBuf, name: &str, times: u64) -> Result<u64, String> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).args([name, &times.to_string()]);
    let run = valgrind.output().map_err(|fault| format!("valgrind cannot be run: {fault}"))?;
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    if !run.status.success() {
        return Err(format!("{name:?} failed under valgrind:\n{told}"));
    }
    let count = told.lines().find_map(|line| line.split_once("Collected : ")?.1.split_whitespace().next()?.parse().ok());
    count.ok_or_else(|| format!("valgrind told no count of {name:?}:\n{told}"))
}

/// Builds scenarios as they are released, and finds the program.
fn build(package: &str, bench: &str) -> Result<PathBuf, String> {
    let mut build = cargo(["bench", "-p", package, "--bench", bench, "--no-run", "--message-format=json"]);
    let messages = output(build.stderr(std::process::Stdio::inherit()))?;
    let name = format!("\"name\":\"{bench}\"");
    let paths = messages.lines().filter(|line| line.contains(&name));
    let executable = paths.filter_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next()).next_back();
    executable.map(PathBuf::from).ok_or_else(|| "cargo told no program of the bench".to_owned())
}

fn output(command: impl std::borrow::BorrowMut<Command>) -> Result<String, String> {
    let mut command = command;
    let command = command.borrow_mut();
    let run = command.output().map_err(|fault| format!("{} cannot be run: {fault}", command.get_program().to_string_lossy()))?;
    match run.status.success() {
        true => Ok(String::from_utf8_lossy(&run.stdout).into_owned()),
        false => Err(format!("{} ended with {}", command.get_program().to_string_lossy(), run.status)),
    }
}

fn baseline() -> PathBuf {
    repository().join("crates/core/benches/instructions.txt")
}

impl Counts {
    fn to_text(&self) -> String {
        let mut text = format!("# Instructions of one repetition, by `cargo xtask bench --record`.\n# {}\n", self.compiler);
        for (name, count) in &self.instructions {
            _ = writeln!(text, "{count:>12}  {name}");
        }
        text
    }

    fn parse(text: &str) -> Result<Self, String> {
        let compiler = text.lines().filter_map(|line| line.strip_prefix("# ")).find(|line| line.starts_with("rustc "));
        let mut instructions = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (count, name) = line.trim_start().split_once("  ").ok_or_else(|| format!("not a line of the baseline: {line:?}"))?;
            let count = count.parse().map_err(|_| format!("not a count in the baseline: {line:?}"))?;
            instructions.insert(name.to_owned(), count);
        }
        Ok(Self { compiler: compiler.unwrap_or("an unknown compiler").to_owned(), instructions })
    }
}

/// What is counted: packages, and their programs.
const PROGRAMS: [(&str, &str); 2] = [("bongsu-core", "instructions"), ("bongsu-server", "requests")];
/// By how much a scenario may cost more than its baseline.
const TOLERANCE_PERCENT: f64 = 3.0;
/// How many repetitions are counted.
const TIMES: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(compiler: &str, of: &[(&str, u64)]) -> Counts {
        Counts { compiler: compiler.to_owned(), instructions: of.iter().map(|(name, count)| (name.to_string(), *count)).collect() }
    }

    #[test]
    fn what_is_recorded_is_read_again() {
        let recorded = counts("rustc 1.95.0", &[("deliver 1 to 1000", 123_456), ("publish", 7)]);
        assert_eq!(Counts::parse(&recorded.to_text()), Ok(recorded));
    }

    #[test]
    fn more_than_the_tolerance_fails_and_less_does_not() {
        let baseline = counts("rustc 1", &[("a", 1000)]);
        for (count, within) in [(1000, true), (1030, true), (1031, false), (500, true)] {
            assert_eq!(compare(&baseline, &counts("rustc 2", &[("a", count)])), within, "{count}");
        }
        assert!(!compare(&baseline, &counts("rustc 1", &[("a", 1000), ("b", 1)])), "one without a baseline");
        assert!(!compare(&baseline, &counts("rustc 1", &[])), "one that is gone");
    }
}
