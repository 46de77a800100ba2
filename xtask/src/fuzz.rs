//! `cargo xtask fuzz`: feeds every decoder with mutated input, by libFuzzer where it is installed, else by the ordinary tests.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::steps::{Steps, run as done, succeeds};
use crate::{cargo, repository};

/// What to feed, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    seconds: u64,
    target: Option<String>,
}

/// Reads the arguments.
pub(crate) fn plan(arguments: &[String]) -> Result<Plan, String> {
    let mut plan = Plan { seconds: SECONDS, target: None };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => plan.seconds = seconds(words.next().ok_or("--seconds needs a number")?)?,
            option if option.starts_with('-') => return Err(format!("unknown option {option:?}")),
            target if plan.target.is_none() => plan.target = Some(target.to_owned()),
            another => return Err(format!("one target at a time, not {another:?} too")),
        }
    }
    Ok(plan)
}

fn seconds(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number of seconds"))
}

/// Fuzzes by plan and tells whether nothing was found.
pub(crate) fn run(plan: &Plan) -> Result<bool, String> {
    let known = targets()?;
    if let Some(target) = plan.target.as_ref().filter(|target| !known.contains(target)) {
        return Err(format!("there is no target {target:?}; there are {}", known.join(", ")));
    }
    let mut steps = Steps::default();
    if succeeds(&mut cargo(["fuzz", "--version"])) {
        let chosen: Vec<&String> = known.iter().filter(|target| plan.target.as_ref().is_none_or(|one| one == *target)).collect();
        // Each gets its share of the time.
        let share = (plan.seconds / chosen.len().max(1) as u64).max(1);
        steps.step("libFuzzer", || chosen.iter().try_for_each(|target| libfuzzer(target, share)));
    } else {
        println!("cargo-fuzz is not installed: the ordinary tests mutate the corpus of every target instead");
        steps.step("mutations", || mutations(Duration::from_secs(plan.seconds)));
    }
    Ok(steps.finish())
}

/// Every target has a folder in the corpus; a test holds the two equal.
fn targets() -> Result<Vec<String>, String> {
    let corpus = repository().join("fuzz/corpus");
    let entries = fs::read_dir(&corpus).map_err(|fault| format!("{}: {fault}", corpus.display()))?;
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn libfuzzer(target: &str, seconds: u64) -> Result<(), String> {
    let (corpus, bound) = (format!("fuzz/corpus/{target}"), format!("-max_total_time={seconds}"));
    let arguments = ["fuzz", "run", "--fuzz-dir", "fuzz/libfuzzer", target, &corpus, "--", &bound];
    // libFuzzer's instrumentation is a flag of the nightly compiler; this lets the pinned one take it.
    done(cargo(arguments).env("RUSTC_BOOTSTRAP", "1"))
}

/// Runs the replaying tests with one fresh seed after the other. A failure prints its seed and input.
fn mutations(bound: Duration) -> Result<(), String> {
    let began = Instant::now();
    let first = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for seed in first.. {
        let mut test = cargo(["test", "--quiet", "--package", "bongsu-fuzz-targets", "--test", "replay"]);
        done(test.env("BONGSU_FUZZ_SEED", seed.to_string()).env("BONGSU_FUZZ_RUNS", RUNS_A_SEED))?;
        if began.elapsed() >= bound {
            break;
        }
    }
    Ok(())
}

const SECONDS: u64 = 60;
const RUNS_A_SEED: &str = "50000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_how_long_and_what() {
        let read = |text: &str| plan(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(read(""), Ok(Plan { seconds: SECONDS, target: None }));
        assert_eq!(read("--seconds 5 stomp"), Ok(Plan { seconds: 5, target: Some("stomp".to_owned()) }));
        for wrong in ["--seconds", "--seconds x", "--loud", "a b"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
