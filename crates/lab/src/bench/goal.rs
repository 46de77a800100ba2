//! What is to be reached, as data, and whether it was.

use serde::{Deserialize, Serialize};

use super::BenchFault;
use super::compare::Results;
use super::figure::Figure;

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
    /// Further scenarios of the same target: the ratio is then that of the largest to the smallest.
    pub and: Vec<String>,
    /// The ratio, or without `to` the figure, may be no more than this.
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
    /// What it needs was not run.
    NotMeasured,
}

impl Goal {
    /// The scenarios that it needs.
    pub(super) fn scenarios(&self) -> impl Iterator<Item = &str> {
        [&self.scenario].into_iter().chain(&self.to_scenario).chain(&self.and).map(String::as_str)
    }

    /// The targets that it needs.
    pub(super) fn targets(&self) -> impl Iterator<Item = &str> {
        [&self.target].into_iter().chain(&self.to).map(String::as_str)
    }

    pub(super) fn check(&self) -> Result<(), BenchFault> {
        match (self.at_most, self.at_least) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            _ => Err(BenchFault::Sense(format!("the goal {:?} needs at_most or at_least, one of them", self.what))),
        }
    }

    /// Judges it by what was measured.
    pub fn judge(&self, results: &Results) -> Judgement {
        let bound = self.at_most.map(|most| format!("≤ {most}")).or_else(|| self.at_least.map(|least| format!("≥ {least}")));
        let (seen, of) = self.seen(results).map_or((None, String::new()), |(seen, of)| (Some(seen), of));
        let is_met = |seen: f64| self.at_most.is_none_or(|most| seen <= most) && self.at_least.is_none_or(|least| seen >= least);
        let verdict = match seen {
            None => Verdict::NotMeasured,
            Some(seen) if is_met(seen) => Verdict::Met,
            Some(_) => Verdict::NotMet,
        };
        Judgement { what: self.what.clone(), seen, of, goal: bound.unwrap_or_default(), verdict }
    }

    fn seen(&self, results: &Results) -> Option<(f64, String)> {
        let figure = Figure::named(&self.figure)?;
        let median = |scenario: &str, target: &str| Some(figure.spread(&results.of(scenario, target)?.reports)?.median);
        let own = median(&self.scenario, &self.target)?;
        if !self.and.is_empty() {
            let all = self.scenarios().map(|scenario| median(scenario, &self.target)).collect::<Option<Vec<f64>>>()?;
            let (least, most) = (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(0.0, f64::max));
            let shown: Vec<String> = all.iter().map(|&value| figure.show(value)).collect();
            return Some((most / least, format!("{} ({})", shown.join(", "), figure.name)));
        }
        if self.to.is_none() && self.to_scenario.is_none() {
            return Some((own, figure.name.to_owned()));
        }
        let other = median(self.to_scenario.as_ref().unwrap_or(&self.scenario), self.to.as_ref().unwrap_or(&self.target))?;
        Some((own / other, format!("{} : {} ({})", figure.show(own), figure.show(other), figure.name)))
    }
}
