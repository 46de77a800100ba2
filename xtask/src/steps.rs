//! Runs steps one after the other, tells how long each took, and sums them up. Every chore of several steps uses it.

use std::process::Command;
use std::time::{Duration, Instant};

/// What was run so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Done>,
}

struct Done {
    name: &'static str,
    took: Duration,
    fault: Option<String>,
}

impl Steps {
    /// Runs a step. A fault does not end the chore: whoever mends it wants to know of the others too.
    pub(crate) fn step(&mut self, name: &'static str, run: impl FnOnce() -> Result<(), String>) {
        println!("\n=== {name}");
        let began = Instant::now();
        let fault = run().err();
        let took = began.elapsed();
        match &fault {
            None => println!("=== {name}: passed in {:.1} s", took.as_secs_f64()),
            Some(fault) => println!("=== {name}: FAILED after {:.1} s: {fault}", took.as_secs_f64()),
        }
        self.done.push(Done { name, took, fault });
    }

    /// Runs a step, unless one that it stands on has failed: then it fails as well, and says why.
    pub(crate) fn step_after(&mut self, needs: &[&str], name: &'static str, run: impl FnOnce() -> Result<(), String>) {
        let missing = self.done.iter().find(|done| needs.contains(&done.name) && done.fault.is_some()).map(|done| done.name);
        self.step(name, || missing.map_or_else(run, |missing| Err(format!("not run, because of {missing:?}"))));
    }

    /// Prints the summary, whose last line counts the steps, and tells whether all passed.
    pub(crate) fn finish(self) -> bool {
        println!("\n=== summary");
        for Done { name, took, fault } in &self.done {
            let verdict = fault.as_deref().map_or("passed".to_owned(), |fault| format!("FAILED: {fault}"));
            println!("{:>8.1} s  {name}: {verdict}", took.as_secs_f64());
        }
        let took: Duration = self.done.iter().map(|done| done.took).sum();
        println!("{:>8.1} s  in all\n", took.as_secs_f64());
        let failed = self.done.iter().filter(|done| done.fault.is_some()).count();
        println!("{} passed, {failed} failed", self.done.len() - failed);
        failed == 0
    }
}

/// Runs a command to its end; how it failed is the fault.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    println!("$ {}", shown(command));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} ended with {status}", command.get_program().to_string_lossy())),
        Err(fault) => Err(format!("{} cannot be run: {fault}", command.get_program().to_string_lossy())),
    }
}

/// Whether a command succeeds; what it says is not shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
