//! What is to be reached, as data, and whether it was.

use serde::{Deserialize, Serialize};

use super::BenchFault;
use super::compare::Results;
use super::figure::{Figure, Kind};

/// A goal: a figure of a target in a scenario, by itself, beside that of another, or beside itself in other scenarios.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Goal {
    /// What it says, for the table.
    pub what: String,
    /// Which figure.
    pub figure: String,
    /// Where it is taken from.
    pub scenario: String,
    /// Whose it is.
    pub target: String,
    /// The target beside which it is set, if not itself.
    pub to: Option<String>,
    /// The scenario there, if not the same.
    pub to_scenario: Option<String>,
    /// The ratio, or without `to` the figure, may be no more than this. Without a bound it is only told.
    pub at_most: Option<f64>,
    /// Or no less than this.
    pub at_least: Option<f64>,
}

/// Whether a goal was met.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judgement {
    /// The goal's words.
    pub what: String,
    /// The ratio or figure that was seen.
    pub seen: Option<f64>,
    /// The figures it was made of.
    pub of: String,
    /// What it was to be.
    pub goal: String,
    /// Whether it was.
    pub verdict: Verdict,
}

/// A goal's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was reached.
    Met,
    /// It was not.
    NotMet,
    /// There is nothing to reach.
    Told,
    /// What it needs was not run.
    NotMeasured,
}

impl Goal {
    /// The scenarios that it needs.
    pub(super) fn scenarios(&self) -> impl Iterator<Item = &str> {
        [&self.scenario].into_iter().chain(&self.to_scenario).map(String::as_str)
    }

    /// The targets that it needs.
    pub(super) fn targets(&self) -> impl Iterator<Item = &str> {
        [&self.target].into_iter().chain(&self.to).map(String::as_str)
    }

    pub(super) fn check(&self) -> Result<(), BenchFault> {
        match (self.at_most, self.at_least) {
            (Some(_), Some(_)) => Err(BenchFault::Sense(format!("the goal {:?} has at_most and at_least; give it one of them", self.what))),
            _ => Ok(()),
        }
    }

    /// Judges it by what was measured.
    pub fn judge(&self, results: &Results) -> Judgement {
        let bound = self.at_most.map(|most| format!("≤ {most}")).or_else(|| self.at_least.map(|least| format!("≥ {least}")));
        let (seen, of) = self.seen(results).map_or((None, String::new()), |(seen, of)| (Some(seen), of));
        let is_met = |seen: f64| self.at_most.is_none_or(|most| seen <= most) && self.at_least.is_none_or(|least| seen >= least);
        let verdict = match seen {
            None => Verdict::NotMeasured,
            Some(_) if bound.is_none() => Verdict::Told,
            Some(seen) if is_met(seen) => Verdict::Met,
            Some(_) => Verdict::NotMet,
        };
        Judgement { what: self.what.clone(), seen, of, goal: bound.unwrap_or_default(), verdict }
    }

    fn seen(&self, results: &Results) -> Option<(f64, String)> {
        let figure = Figure::named(&self.figure)?;
        let held = |scenario: &str, target: &str| Some(figure.held(figure.spread(&results.of(scenario, target)?.reports)?));
        let own = held(&self.scenario, &self.target)?;
        if self.to.is_none() && self.to_scenario.is_none() {
            let word = if figure.kind == Kind::YesNo { format!(": {}", figure.show(own)) } else { String::new() };
            return Some((own, format!("{}{word}", figure.name)));
        }
        let other = held(self.to_scenario.as_ref().unwrap_or(&self.scenario), self.to.as_ref().unwrap_or(&self.target))?;
        Some((own / other, format!("{} : {} ({})", figure.show(own), figure.show(other), figure.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::{Compared, Measured};
    use super::*;
    use crate::load::{Account, Balance, Report};

    /// Two runs, of which one's counters add up to something else.
    fn results() -> Results {
        let report = |pending| Report {
            deliveries: 1,
            deliveries_per_second: 10.0,
            balance: Some(Balance {
                transports: [("sse".to_owned(), Account { offered: 5, delivered: 4, pending, ..Account::default() })].into(),
                ..Balance::default()
            }),
            ..Report::default()
        };
        let measured = Measured { target: "it".into(), reports: vec![report(1), report(1), report(2)], ..Measured::default() };
        let compared = Compared { name: "all".into(), about: String::new(), sweep: None, measured: vec![measured] };
        Results { scenarios: vec![compared], ..Results::default() }
    }

    #[test]
    fn a_goal_is_met_missed_told_or_not_measured() {
        let goal = |figure: &str, at_least: Option<f64>| Goal {
            figure: figure.into(),
            scenario: "all".into(),
            target: "it".into(),
            at_least,
            ..Goal::default()
        };
        for (goal, verdict) in [
            (goal("rate", Some(9.0)), Verdict::Met),
            (goal("rate", Some(11.0)), Verdict::NotMet),
            (goal("rate", None), Verdict::Told),
            (goal("balanced", Some(1.0)), Verdict::NotMet),
            (goal("idle-rss", Some(1.0)), Verdict::NotMeasured),
            (Goal { to: Some("another".into()), ..goal("rate", Some(1.0)) }, Verdict::NotMeasured),
        ] {
            assert_eq!(goal.judge(&results()).verdict, verdict, "{goal:?}");
        }
    }
}
