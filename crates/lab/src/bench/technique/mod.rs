//! Which technique when: the same updates to the same number of subscribers by polls, long polls, server-sent events and WebSockets, at
//! rates from one in a hundred seconds to a thousand a second; a stream of updates by POSTs and by a WebSocket; and how cost goes with
//! size and number. From this project's own server and the bare one.

mod plots;
mod steps;
mod tables;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::BenchFault;
use super::compare::run;
use super::scenario::Scenario;
use super::server::Start;
use crate::load::{Progress, Report};
use steps::{Part, RAREST, Server, Step, bare, own, steps};

/// How much of it is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// Whether it is to take less than three minutes rather than a quarter of an hour.
    pub quick: bool,
    /// So many bytes of socket buffers there may be; what needs more is left out.
    pub buffer_bytes: Option<u64>,
}

/// What was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Techniques {
    /// By technique: its name, and for each rate of updates what it cost.
    pub techniques: Vec<(String, Vec<Point>)>,
    /// How 10,000 updates a second get in: by what, and the run.
    pub publishing: Vec<(String, Report)>,
    /// By the number of subscribers and the payload's size, one publication in flight.
    pub grid: Vec<Cell>,
    /// What could not be measured, and why.
    pub left_out: Vec<String>,
}

/// A server with so many subscribers, to whom so many bytes are published.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// Which server.
    pub server: String,
    /// How many subscribe.
    pub subscribers: usize,
    /// How long the payload is.
    pub payload_bytes: usize,
    /// The run.
    pub report: Report,
}

/// A technique at a rate of updates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Updates a second.
    pub rate: f64,
    /// The server's processor time for each subscriber and second, in microseconds.
    pub cpu_us: f64,
    /// Bytes both ways for each subscriber and second.
    pub bytes: f64,
    /// From update to subscriber: mean and 99th percentile, in milliseconds.
    pub delay_ms: (f64, f64),
}

impl Techniques {
    /// Measures all of it; `watch` is told what is under way, and how much of all is done. A run that fails is left out, by name.
    pub fn measure(extent: Extent, start: &Start, watch: &mut dyn FnMut(&str, f64, Option<Progress>)) -> Self {
        let steps = steps(extent);
        let takes: f64 = steps.iter().map(|step| step.scenario.takes(1.0)).sum();
        let (own, bare) = (own(), bare());
        let (mut measured, mut done, mut base) = (Self::default(), 0.0, None);
        for Step { part, name, scenario, server } in steps {
            let what = format!("{name}, {}", scenario.name);
            watch(&what, done / takes, None);
            let target = if server == Server::Own { &own } else { &bare };
            let report = match scenario.too_big(extent.buffer_bytes) {
                Some(told) => Err(told),
                None => run(&scenario, target, start, 1.0, &mut |progress| watch(&what, done / takes, Some(progress)))
                    .map_err(|fault| fault.to_string())
                    .and_then(|report| super::table::complaints(&report).map_or(Ok(report), Err)),
            };
            match report {
                Ok(report) => measured.note(part, name, &scenario, report, &mut base),
                Err(told) => measured.left_out.push(format!("{what}: {told}")),
            }
            done += scenario.takes(1.0);
        }
        measured
    }

    /// About how many seconds that takes.
    pub fn takes(extent: Extent) -> f64 {
        steps(extent).iter().map(|step| step.scenario.takes(1.0)).sum()
    }

    fn note(&mut self, part: Part, name: String, scenario: &Scenario, mut report: Report, base: &mut Option<(String, Point)>) {
        // What is kept for good is small.
        (report.timeline, report.latency_curve) = (Vec::new(), Vec::new());
        match part {
            Part::Publishing => self.publishing.push((name, report)),
            Part::Grid => {
                let Scenario { subscribers, payload_bytes, .. } = *scenario;
                self.grid.push(Cell { server: name, subscribers, payload_bytes, report });
            }
            Part::Technique => self.note_technique(name, scenario, &report, base),
        }
    }

    fn note_technique(&mut self, name: String, scenario: &Scenario, report: &Report, base: &mut Option<(String, Point)>) {
        let rate = scenario.rate.unwrap_or_default();
        let point = Point {
            rate,
            cpu_us: report.server_cpu_cores.unwrap_or_default() * 1e6 / scenario.subscribers as f64,
            bytes: report.bytes_per_subscriber_second,
            delay_ms: (report.latency_us.mean / 1000.0, report.latency_us.p99 as f64 / 1000.0),
        };
        if rate == 0.0 {
            *base = Some((name, point));
            return;
        }
        let index = self.techniques.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.techniques.push((name.clone(), Vec::new()));
            self.techniques.len() - 1
        });
        let points = &mut self.techniques[index].1;
        if let Some((_, idle)) = base.take().filter(|(of, _)| *of == name) {
            points.push(idle.towards(&point, RAREST / rate));
        }
        points.push(point);
    }

    /// Writes the plots, the figures as JSON and tables in Markdown into a folder.
    pub fn write(&self, folder: &Path) -> Result<Vec<String>, BenchFault> {
        std::fs::create_dir_all(folder).map_err(BenchFault::file(folder))?;
        let mut written = Vec::new();
        let mut write = |name: String, text: String| {
            let file = folder.join(&name);
            std::fs::write(&file, text).map_err(BenchFault::file(file))?;
            written.push(name);
            Ok::<_, BenchFault>(())
        };
        for (name, lines) in self.plots() {
            if let Some(svg) = lines.svg()? {
                write(format!("{name}.svg"), svg)?;
            }
        }
        for (name, key) in [("publishing-cpu", "cpu-publication"), ("publishing-bytes", "bytes-publication")] {
            if let Some(svg) = self.publishing_bars(key)? {
                write(format!("{name}.svg"), svg)?;
            }
        }
        let json = serde_json::to_string_pretty(self).map_err(|error| BenchFault::Plot(error.to_string()))?;
        write("techniques.json".to_owned(), json + "\n")?;
        write("techniques.md".to_owned(), self.tables())?;
        Ok(written)
    }
}

impl Point {
    /// A share of the way to another: what both cost grows with the number of updates.
    fn towards(&self, other: &Self, share: f64) -> Self {
        let between = |one: f64, other: f64| one + (other - one) * share;
        Self {
            rate: between(self.rate, other.rate),
            cpu_us: between(self.cpu_us, other.cpu_us),
            bytes: between(self.bytes, other.bytes),
            delay_ms: other.delay_ms,
        }
    }
}

/// 16 B, 1 KiB, 64 KiB.
fn bytes_in_words(bytes: usize) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes / 1024) }
}

fn subscribers_in_words(many: usize) -> String {
    if many == 1 { "1 subscriber".to_owned() } else { format!("{many} subscribers") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_of_it_is_bounded() {
        for (quick, minutes) in [(true, 3.0), (false, 15.0)] {
            let takes = Techniques::takes(Extent { quick, buffer_bytes: None });
            assert!(takes < minutes * 60.0 * 0.9, "{quick}: {takes} s");
        }
    }

    #[test]
    fn every_part_finds_its_place_in_plots_and_tables() {
        let (mut measured, mut base) = (Techniques::default(), None);
        let extent = Extent { quick: false, buffer_bytes: None };
        for Step { part, name, scenario, .. } in steps(extent) {
            let report = Report {
                deliveries: 10,
                deliveries_per_second: 5.0,
                seconds: 1.0,
                bytes_per_subscriber_second: 3.0,
                server_cpu_cores: Some(0.5),
                server_cpu_us_per_delivery: Some(2.0),
                server_cpu_us_per_publication: Some(2.0),
                bytes_per_publication: 9.0,
                latency_us: crate::load::Latency { mean: 5.0, p99: 9, ..Default::default() },
                ..Report::default()
            };
            measured.note(part, name, &scenario, report, &mut base);
        }
        for (name, lines) in measured.plots() {
            assert!(lines.svg().expect("drawn").is_some(), "{name}");
        }
        assert!(measured.publishing_bars("cpu-publication").expect("drawn").is_some());
        assert!(measured.techniques.iter().all(|(_, points)| points[0].rate == RAREST), "{:?}", measured.techniques);
        let tables = measured.tables();
        for words in ["| poll every 30 s | 1000 |", "| one WebSocket, native |", "64 KiB", "| 10000 | bare epoll |"] {
            assert!(tables.contains(words), "{words} in {tables}");
        }
    }

    #[test]
    fn the_rarest_rate_lies_between_none_and_the_next() {
        let at = |rate: f64, cpu_us: f64| Point { rate, cpu_us, bytes: cpu_us, delay_ms: (7.0, 9.0) };
        let between = at(0.0, 10.0).towards(&at(0.1, 20.0), 0.1);
        assert!((between.rate - 0.01).abs() < 1e-9 && (between.cpu_us - 11.0).abs() < 1e-9, "{between:?}");
        assert_eq!(between.delay_ms, (7.0, 9.0));
    }
}
