//! The figures of a run: one table of them for terminal, JSON, HTML, plots and goals.

use serde::{Deserialize, Serialize};

use crate::load::{Balance, Report};

/// One thing that a report tells.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// Its name in files.
    pub key: &'static str,
    /// Its name in tables.
    pub name: &'static str,
    /// How many decimals it deserves.
    pub decimals: usize,
    /// Where it stands in a report; nothing where it was not measured.
    pub read: fn(&Report) -> Option<f64>,
    /// What of several runs a goal holds on to.
    pub kind: Kind,
}

/// What sort of thing a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It scatters: of several runs, the median counts.
    Measure,
    /// It was counted: of several runs, the least counts.
    Count,
    /// 1 if it is so, 0 if not: it must be so in every run.
    YesNo,
}

/// The median of several runs, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

/// Every figure.
pub const FIGURES: &[Figure] = &[
    figure("cpu", "CPU µs/delivery", 3, |report| delivered(report).and(report.server_cpu_us_per_delivery)),
    figure("cpu-publication", "CPU µs/publication", 1, |report| delivered(report).and(report.server_cpu_us_per_publication)),
    figure("cores", "CPU cores", 3, |report| counted(report).and(report.server_cpu_cores)),
    figure("system", "kernel's share of it", 2, |report| counted(report).and(report.server_system_share)),
    figure("rate", "deliveries/s", 0, |report| delivered(report).map(|()| report.deliveries_per_second)),
    figure("bytes-read", "bytes/read", 0, |report| delivered(report).map(|()| report.bytes_per_read)),
    figure("bytes", "bytes/delivery", 1, |report| delivered(report).map(|()| report.bytes_per_delivery)),
    figure("traffic", "B/subscriber and s", 1, |report| counted(report).map(|()| report.bytes_per_subscriber_second)),
    figure("bytes-publication", "bytes/publication", 1, |report| delivered(report).map(|()| report.bytes_per_publication)),
    figure("mean", "mean µs", 0, |report| delivered(report).map(|()| report.latency_us.mean)),
    figure("p50", "p50 µs", 0, |report| delivered(report).map(|()| report.latency_us.p50 as f64)),
    figure("p90", "p90 µs", 0, |report| delivered(report).map(|()| report.latency_us.p90 as f64)),
    figure("p99", "p99 µs", 0, |report| delivered(report).map(|()| report.latency_us.p99 as f64)),
    figure("p999", "p99.9 µs", 0, |report| delivered(report).map(|()| report.latency_us.p999 as f64)),
    figure("max", "max µs", 0, |report| delivered(report).map(|()| report.latency_us.max as f64)),
    figure("idle-rss", "RSS B/idle connection", 0, |report| report.rss_per_idle_connection),
    figure("opened", "connections opened/s", 0, |report| Some(report.opened_per_second)),
    figure("driver", "driver's CPU µs/delivery", 3, |report| delivered(report).and(report.driver_cpu_us_per_delivery)),
    Figure { kind: Kind::YesNo, ..figure("balanced", "counters add up", 0, |report| Some(f64::from(balance(report)?.adds_up(report)))) },
    count("dropped", "dropped for slow ones", |report| Some(balance(report)?.sum().dropped as f64)),
    count("conflated", "conflated for slow ones", |report| Some(balance(report)?.sum().conflated as f64)),
    count("slow-closes", "closed as slow", |report| Some(balance(report)?.slow_closes as f64)),
    count("held", "publishers held back", |report| Some(balance(report)?.publishers_held as f64)),
];

/// Those that a table of several servers shows: the rest stands in the JSON.
pub(super) const CHIEF: &[&str] = &["cpu", "rate", "bytes", "p50", "p99", "idle-rss", "opened", "balanced"];

const fn figure(key: &'static str, name: &'static str, decimals: usize, read: fn(&Report) -> Option<f64>) -> Figure {
    Figure { key, name, decimals, read, kind: Kind::Measure }
}

const fn count(key: &'static str, name: &'static str, read: fn(&Report) -> Option<f64>) -> Figure {
    Figure { kind: Kind::Count, ..figure(key, name, 0, read) }
}

fn balance(report: &Report) -> Option<&Balance> {
    report.balance.as_ref().filter(|balance| !balance.transports.is_empty())
}

fn delivered(report: &Report) -> Option<()> {
    (report.deliveries > 0).then_some(())
}

fn counted(report: &Report) -> Option<()> {
    (report.seconds > 0.0).then_some(())
}

impl Figure {
    /// The figure of this name.
    pub fn named(key: &str) -> Option<&'static Self> {
        FIGURES.iter().find(|figure| figure.key == key)
    }

    /// Its median and spread over several runs.
    pub fn spread(&self, reports: &[Report]) -> Option<Spread> {
        let mut values: Vec<f64> = reports.iter().filter_map(self.read).collect();
        values.sort_by(f64::total_cmp);
        Some(Spread { median: *values.get(values.len() / 2)?, least: *values.first()?, most: *values.last()? })
    }

    /// What a goal holds on to.
    pub fn held(&self, spread: Spread) -> f64 {
        if self.kind == Kind::Measure { spread.median } else { spread.least }
    }

    /// A value as tables show it.
    pub fn show(&self, value: f64) -> String {
        match self.kind {
            Kind::YesNo if value >= 1.0 => "yes".to_owned(),
            Kind::YesNo => "NO".to_owned(),
            _ => format!("{value:.*}", self.decimals),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_what_was_measured() {
        let report = |rate: f64| Report { deliveries: 1, deliveries_per_second: rate, ..Report::default() };
        let rate = Figure::named("rate").expect("there is one");
        let spread = rate.spread(&[report(3.0), report(1.0), report(2.0), Report::default()]);
        assert_eq!(spread, Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(rate.spread(&[Report::default()]), None);
    }

    #[test]
    fn what_must_be_so_must_be_so_in_every_run() {
        let balanced = Figure::named("balanced").expect("there is one");
        let spread = Spread { median: 1.0, least: 0.0, most: 1.0 };
        assert_eq!((balanced.held(spread), balanced.show(0.0), balanced.show(1.0)), (0.0, "NO".to_owned(), "yes".to_owned()));
        assert_eq!(balanced.spread(&[Report::default()]), None, "no server said anything");
    }
}
