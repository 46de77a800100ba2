//! Tables for a terminal.

use std::fmt::Write;

use super::compare::{Compared, Measured};
use super::figure::{CHIEF, FIGURES, Figure, Kind};
use super::goal::{Judgement, Verdict};
use crate::load::{Account, Balance, Report};

/// One run: every figure that it has.
pub fn run_table(report: &Report) -> String {
    let mut text = String::new();
    for figure in FIGURES {
        if let Some(value) = (figure.read)(report).filter(|value| figure.kind != Kind::Count || *value > 0.0) {
            // Writing to a string cannot fail.
            _ = writeln!(text, "  {:<26} {:>14}", figure.name, figure.show(value));
        }
    }
    let Report { publications, deliveries, seconds, .. } = report;
    _ = writeln!(text, "  {publications} publications and {deliveries} deliveries in {seconds:.1} s");
    let told = complaints(report).into_iter().chain(slow_ones(report));
    text + &told.map(|told| format!("  {told}\n")).collect::<String>()
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
        let told = reports.iter().flat_map(|report| complaints(report).into_iter().chain(slow_ones(report)));
        told.for_each(|told| _ = writeln!(text, "  {target}: {told}"));
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
    let count = |verdict| goals.iter().filter(|goal| goal.verdict == verdict).count();
    _ = writeln!(text, "{} met, {} not met, {} not measured", count(Verdict::Met), count(Verdict::NotMet), count(Verdict::NotMeasured));
    text
}

impl Verdict {
    /// How it is told.
    pub fn words(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "NOT MET",
            Self::Told => "",
            Self::NotMeasured => "not measured",
        }
    }
}

/// What is wrong with a run, if anything is.
pub(super) fn complaints(report: &Report) -> Option<String> {
    let Report { lost, repeated, closed, .. } = report;
    let seen = format!("NOT CLEAN: {lost} lost, {repeated} repeated or out of order, {closed} connections closed early");
    let skewed = report.balance.as_ref().filter(|balance| !balance.adds_up(report));
    let skewed =
        skewed.map(|balance| format!("THE COUNTERS DO NOT ADD UP to what {} deliveries need: {:?}", report.received, balance.transports));
    let all: Vec<String> = (!report.is_complete()).then_some(seen).into_iter().chain(skewed).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// What became of slow subscribers, at both ends, if there were any.
pub(super) fn slow_ones(report: &Report) -> Option<String> {
    let Report { slow_deliveries, slow_lost, .. } = report;
    if report.slow_subscribers == 0 {
        return None;
    }
    let mut text = format!("slow ones read {slow_deliveries} and missed {slow_lost}");
    if let Some(balance) = &report.balance {
        let Account { offered, delivered, dropped, conflated, abandoned, pending } = balance.sum();
        let Balance { slow_closes, publishers_held, publishers_refused, .. } = balance;
        // Writing to a string cannot fail.
        _ = write!(
            text,
            "; the server: {offered} offered = {delivered} delivered + {dropped} dropped + {conflated} conflated + {abandoned} abandoned \
             + {pending} pending, {slow_closes} closed as slow, publishers {publishers_held} times held and {publishers_refused} refused"
        );
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_add_up_is_a_complaint_and_what_slow_ones_miss_is_none() {
        let account = Account { offered: 9, delivered: 5, dropped: 4, ..Account::default() };
        let balance = Balance { transports: [("sse".to_owned(), account)].into(), ..Balance::default() };
        let report = Report { received: 5, slow_subscribers: 1, slow_lost: 4, balance: Some(balance), ..Report::default() };
        assert_eq!(complaints(&report), None);
        let told = slow_ones(&report).expect("there was a slow one");
        assert!(told.contains("missed 4") && told.contains("9 offered = 5 delivered + 4 dropped"), "{told}");
        let told = complaints(&Report { received: 6, lost: 1, ..report }).expect("both are wrong");
        assert!(told.contains("1 lost") && told.contains("DO NOT ADD UP"), "{told}");
        assert_eq!(slow_ones(&Report::default()), None);
    }
}
