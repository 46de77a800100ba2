//! Every decoder against its corpus, and against what a seed makes of it.
//!
//! `BONGSU_FUZZ_SEED` and `BONGSU_FUZZ_RUNS` choose another seed and more runs. A failure prints the seed and the input; put the
//! input into `fuzz/corpus/<target>/` under a name that tells what it shows.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bongsu_fuzz_targets::mutate::{Chance, mutated};
use bongsu_fuzz_targets::{TARGETS, Target};

const SEED: u64 = 0x0b07_9050;
const RUNS: u64 = 3_000;

#[test]
fn the_corpus_is_replayed() {
    for target in TARGETS {
        let corpus = corpus_of(target);
        assert!(!corpus.is_empty(), "no corpus for {}: make fuzz/corpus/{} with a few inputs", target.0, target.0);
        for (path, input) in corpus {
            run(target, &input, &path.display().to_string());
        }
    }
}

#[test]
fn every_corpus_has_its_target() {
    for entry in fs::read_dir(corpus_root()).expect("the corpus is in the repository") {
        let name = entry.expect("a readable folder").file_name();
        assert!(TARGETS.iter().any(|(known, _)| name == *known), "{name:?} is the corpus of no target");
    }
}

#[test]
fn what_a_seed_makes_of_the_corpus_harms_nothing() {
    let seed = number_from("BONGSU_FUZZ_SEED").unwrap_or(SEED);
    let runs = number_from("BONGSU_FUZZ_RUNS").unwrap_or(RUNS);
    for target in TARGETS {
        let corpus: Vec<Vec<u8>> = corpus_of(target).into_iter().map(|(_, input)| input).collect();
        let mut chance = Chance::new(seed);
        for number in 0..runs {
            run(target, &mutated(&corpus, &mut chance), &format!("BONGSU_FUZZ_SEED={seed}, run {number}"));
        }
    }
}

fn run((name, check): &Target, input: &[u8], source: &str) {
    let outcome = catch_unwind(AssertUnwindSafe(|| check(input)));
    assert!(outcome.is_ok(), "{name} failed ({source}) on {} bytes: \"{}\"", input.len(), input.escape_ascii());
}

fn corpus_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// The inputs of a target, in an order that no file system decides.
fn corpus_of((name, _): &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(corpus_root().join(name)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).expect("a readable input"))).collect()
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("the variable holds a number"))
}
