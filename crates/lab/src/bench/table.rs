//! Tables for a terminal.

use std::fmt::Write;

use super::compare::{Compared, Measured};
use super::figure::{CHIEF, FIGURES, Figure};
use super::goal::{Judgement, Verdict};
use crate::load::Report;

/// One run: every figure that it has.
pub fn run_table(report: &Report) -> String {
    let mut text = String::new();
    for figure in FIGURES {
        if let Some(value) = (figure.read)(report) {
            // Writing to a string cannot fail.
            _ = writeln!(text, "  {:<26} {:>14}", figure.name, figure.show(value));
        }
    }
    let Report { publications, deliveries, seconds, .. } = report;
    _ = writeln!(text, "  {publications} publications and {deliveries} deliveries in {seconds:.1} s");
    text + &complaints(report).map(|complaint| format!("  {complaint}\n")).unwrap_or_default()
}

/// A scenario: for each of the chief figures a line a target, with its ratio to the reference.
pub fn scenario_table(compared: &Compared, reference: &str) -> String {
    let mut text = format!("\n{}", compared.name);
    if !compared.about.is_empty() {
        _ = write!(text, ": {}", compared.about);
    }
    _ = writeln!(text, "\n  {:<22} {:<18} {:>12} {:>12} {:>12} {:>7}", "", "", "median", "least", "most", "ratio");
    for figure in CHIEF.iter().filter_map(|key| Figure::named(key)) {
        let base = compared.measured.iter().find(|measured| measured.target == reference);
        let base = base.and_then(|measured| figure.spread(&measured.reports)).map(|spread| spread.median);
        for Measured { target, reports, .. } in &compared.measured {
            let Some(spread) = figure.spread(reports) else { continue };
            let show = |value| figure.show(value);
            let ratio = base.map(|base| format!("{:.2}", spread.median / base)).unwrap_or_default();
            _ = writeln!(
                text,
                "  {:<22} {target:<18} {:>12} {:>12} {:>12} {ratio:>7}",
                figure.name,
                show(spread.median),
                show(spread.least),
                show(spread.most)
            );
        }
    }
    for Measured { target, reports, faults } in &compared.measured {
        reports.iter().filter_map(complaints).for_each(|complaint| _ = writeln!(text, "  {target}: {complaint}"));
        faults.iter().for_each(|fault| _ = writeln!(text, "  {target}: FAILED: {fault}"));
    }
    text
}

/// The goals, each with its verdict.
pub fn goals_table(goals: &[Judgement]) -> String {
    if goals.is_empty() {
        return String::new();
    }
    let width = goals.iter().map(|goal| goal.what.chars().count()).max().unwrap_or_default();
    let mut text = format!("\n{:<width$}  {:>9}  {:<8}  {:<12}  of\n", "goal", "seen", "to reach", "");
    for Judgement { what, seen, of, goal, verdict } in goals {
        let seen = seen.map(|seen| if seen < 100.0 { format!("{seen:.2}") } else { format!("{seen:.0}") }).unwrap_or_default();
        _ = writeln!(text, "{what:<width$}  {seen:>9}  {goal:<8}  {:<12}  {of}", verdict.words());
    }
    let met = goals.iter().filter(|goal| goal.verdict == Verdict::Met).count();
    _ = writeln!(text, "{met} of {} met", goals.len());
    text
}

impl Verdict {
    /// How it is told.
    pub fn words(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "NOT MET",
            Self::NotMeasured => "not measured",
        }
    }
}

/// What is wrong with a run, if anything is.
pub(super) fn complaints(report: &Report) -> Option<String> {
    let slow = || format!("slow subscribers got {} and missed {}", report.slow_deliveries, report.slow_lost);
    match report {
        Report { lost, repeated, closed, .. } if !report.is_clean() => {
            Some(format!("NOT CLEAN: {lost} lost, {repeated} repeated or out of order, {closed} connections closed early"))
        }
        Report { slow_deliveries: 1.., .. } => Some(slow()),
        _ => None,
    }
}
