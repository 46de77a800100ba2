//! The figures of a run: one table of them for terminal, JSON, HTML, plots and goals.

use serde::{Deserialize, Serialize};

use crate::load::Report;

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
];

/// Those that a table of several servers shows: the rest stands in the JSON.
pub(super) const CHIEF: &[&str] = &["cpu", "rate", "bytes", "p50", "p99", "idle-rss", "opened"];

const fn figure(key: &'static str, name: &'static str, decimals: usize, read: fn(&Report) -> Option<f64>) -> Figure {
    Figure { key, name, decimals, read }
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

    /// A value as tables show it.
    pub fn show(&self, value: f64) -> String {
        format!("{value:.*}", self.decimals)
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
}
