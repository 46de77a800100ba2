//! The delivery path against a simple model: publishes, trims, slow readers and changes of transport, drawn from a seed.
//!
//! `BONGSU_SEEDS=10000 cargo test -p bongsu-core --test simulation` runs that many seeds, `BONGSU_SEED=123` replays one.

mod chance;
mod check;
mod connect;
mod model;
mod parse;
mod pipe;
mod poll;
mod publish;
mod reader;
mod relay;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

#[test]
fn whatever_happens_nothing_is_lost_unsaid_and_nothing_comes_twice() {
    for_each_seed(|seed| {
        let mut world = World::random(seed);
        let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
        outcome.map_err(|panic| format!("{}\nthe last steps: {:#?}", message_of(&*panic), world.recent_steps()))
    });
}

#[test]
fn a_reader_that_changes_its_transport_every_hundred_misses_nothing_and_gets_nothing_twice() {
    for_each_seed(|seed| {
        let outcome = catch_unwind(|| relay::run(seed));
        outcome.map_err(|panic| message_of(&*panic))
    });
}

fn for_each_seed(run: impl Fn(u64) -> Result<(), String>) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a seed is a number"));
    let seeds = match number("BONGSU_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("BONGSU_SEEDS").unwrap_or(SEEDS_BY_DEFAULT),
    };
    for seed in seeds {
        if let Err(fault) = run(seed) {
            panic!("seed {seed}: {fault}\nreplay it with: BONGSU_SEED={seed} cargo test -p bongsu-core --test simulation");
        }
    }
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

const SEEDS_BY_DEFAULT: u64 = 300;
