//! Which technique when: the same updates to the same number of subscribers by polls, long polls, server-sent events and WebSockets, at
//! rates from one in a hundred seconds to a thousand a second; a stream of updates by POSTs and by a WebSocket; and how cost goes with
//! size and number. From this project's own server and the bare one.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::BenchFault;
use super::compare::run;
use super::figure::Figure;
use super::plot::Lines;
use super::scenario::{Publish, Scenario, Vary};
use super::server::Start;
use super::target::TargetFile;
use crate::load::{Progress, Report, Transport};

/// How much of it is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// Whether it is to take less than three minutes rather than less than twenty.
    pub quick: bool,
}

/// What was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Techniques {
    /// By technique: its name, and for each rate of updates what it cost.
    pub techniques: Vec<(String, Vec<Point>)>,
    /// How 10,000 updates a second get in: by what, and the run.
    pub publishing: Vec<(String, Report)>,
    /// By sweep and server: the values and the runs.
    pub sweeps: Vec<(String, String, Runs)>,
}

/// Runs of a sweep, by the value that varies.
type Runs = Vec<(f64, Report)>;

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

/// A technique: its name, how its subscribers receive, and for polls the seconds between two.
type Technique = (&'static str, Transport, f64);

impl Techniques {
    /// Measures all of it; `watch` is told what is under way, and how much of all is done.
    pub fn measure(extent: Extent, start: &Start, watch: &mut dyn FnMut(&str, f64, Option<Progress>)) -> Result<Self, BenchFault> {
        let rates = if extent.quick { &QUICK_RATES[..] } else { &RATES[..] };
        let techniques: Vec<Technique> = TECHNIQUES.iter().copied().filter(|(_, _, interval)| !extent.quick || *interval < 30.0).collect();
        let mut all: Vec<(String, Scenario)> = Vec::new();
        for &(name, transport, interval) in &techniques {
            for &rate in rates {
                all.push((name.to_owned(), technique(extent, transport, interval, rate)));
            }
        }
        for (name, publish) in PUBLISHING {
            all.push((name.to_owned(), publishing(extent, publish)));
        }
        let (own, bare) = (TargetFile::itself("--workers 1 --set history.publications_max=100000 --set history.bytes_max=64MiB"), bare());
        let steps: Vec<(String, Scenario, &TargetFile)> = all
            .into_iter()
            .map(|(name, scenario)| (name, scenario, &own))
            .chain(sweeps(extent).into_iter().flat_map(|scenario| {
                [("bare epoll", &bare), ("bongsu", &own)].map(|(name, target)| (name.to_owned(), scenario.clone(), target))
            }))
            .collect();
        let takes: f64 = steps.iter().map(|(_, scenario, _)| scenario.takes(1.0)).sum();
        let (mut measured, mut done) = (Self::default(), 0.0);
        let mut base = None;
        for (name, scenario, target) in steps {
            let what = format!("{name} {}", scenario.name);
            watch(&what, done / takes, None);
            let report = run(&scenario, target, start, 1.0, &mut |progress| watch(&what, done / takes, Some(progress)))?;
            if !report.is_clean() {
                let complaint = super::table::complaints(&report).unwrap_or_default();
                return Err(BenchFault::Sense(format!("{what}: {complaint}; figures of such a run would mean nothing")));
            }
            done += scenario.takes(1.0);
            measured.note(name, &scenario, report, &mut base);
        }
        Ok(measured)
    }

    fn note(&mut self, name: String, scenario: &Scenario, mut report: Report, base: &mut Option<Point>) {
        // What is kept for good is small.
        (report.timeline, report.latency_curve) = (Vec::new(), Vec::new());
        if let Some((sweep, value)) = &scenario.sweep {
            match self.sweeps.iter_mut().find(|(known, target, _)| known == sweep && *target == name) {
                Some((_, _, points)) => points.push((*value, report)),
                None => self.sweeps.push((sweep.clone(), name, vec![(*value, report)])),
            }
            return;
        }
        if scenario.name == PUBLISHING_NAME {
            return self.publishing.push((name, report));
        }
        let rate = scenario.rate.unwrap_or_default();
        let point = Point {
            rate,
            cpu_us: report.server_cpu_cores.unwrap_or_default() * 1e6 / scenario.subscribers as f64,
            bytes: report.bytes_per_subscriber_second,
            delay_ms: (report.latency_us.mean / 1000.0, report.latency_us.p99 as f64 / 1000.0),
        };
        if rate == 0.0 {
            *base = Some(point);
            return;
        }
        let index = self.techniques.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.techniques.push((name, Vec::new()));
            self.techniques.len() - 1
        });
        let points = &mut self.techniques[index].1;
        if let Some(idle) = base.take() {
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
        let json = serde_json::to_string_pretty(self).map_err(|error| BenchFault::Plot(error.to_string()))?;
        write("techniques.json".to_owned(), json + "\n")?;
        write("techniques.md".to_owned(), self.tables())?;
        Ok(written)
    }

    /// The plots, by the names of their files.
    pub(super) fn plots(&self) -> Vec<(String, Lines)> {
        let of = |title: &str, y: &str, read: fn(&Point) -> f64| Lines {
            title: title.to_owned(),
            x: "updates a second".to_owned(),
            y: y.to_owned(),
            log: (true, true),
            curves: self
                .techniques
                .iter()
                .map(|(name, points)| (name.clone(), points.iter().map(|point| (point.rate, read(point))).collect()))
                .collect(),
        };
        let mut plots = vec![
            ("load".to_owned(), of("Load: the server's processor time for each subscriber", "µs a second", |point| point.cpu_us)),
            ("bytes".to_owned(), of("Bytes both ways for each subscriber", "bytes a second", |point| point.bytes)),
            ("delay".to_owned(), of("Delay from update to subscriber, mean", "ms", |point| point.delay_ms.0)),
        ];
        for sweep in ["payload-bytes", "subscribers"] {
            for key in ["cpu", "rate", "p99"] {
                let Some(figure) = Figure::named(key) else { continue };
                let curves = self.sweeps.iter().filter(|(name, _, _)| name == sweep).map(|(_, target, points)| {
                    (target.clone(), points.iter().filter_map(|(value, report)| Some((*value, (figure.read)(report)?))).collect())
                });
                let x = sweep.replace('-', " ");
                let lines = Lines {
                    title: format!("{} by {x}", figure.name),
                    x,
                    y: figure.name.to_owned(),
                    log: (true, true),
                    curves: curves.collect(),
                };
                plots.push((format!("{sweep}-{key}"), lines));
            }
        }
        plots
    }

    /// The same as tables, for the document and for a terminal.
    pub fn tables(&self) -> String {
        let mut text = String::from(
            "| technique | updates a second | µs/subscriber and s | bytes/subscriber and s | delay, mean | p99 |\n|---|---|---|---|---|---|\n",
        );
        for (name, points) in &self.techniques {
            for Point { rate, cpu_us, bytes, delay_ms } in points {
                text += &format!("| {name} | {rate} | {cpu_us:.1} | {bytes:.0} | {:.1} ms | {:.1} ms |\n", delay_ms.0, delay_ms.1);
            }
        }
        text += "\n| 10,000 updates a second by | CPU µs/update | bytes/update, both ways | p50 | p99 |\n|---|---|---|---|---|\n";
        for (name, report) in &self.publishing {
            let cpu = report.server_cpu_us_per_publication.unwrap_or_default();
            let Report { bytes_per_publication: bytes, latency_us, .. } = report;
            text += &format!("| {name} | {cpu:.1} | {bytes:.0} | {} µs | {} µs |\n", latency_us.p50, latency_us.p99);
        }
        for (sweep, target, points) in &self.sweeps {
            text += &format!("\n| {target}, {} | CPU µs/delivery | deliveries/s | p99 |\n|---|---|---|---|\n", sweep.replace('-', " "));
            for (value, report) in points {
                let cpu = report.server_cpu_us_per_delivery.unwrap_or_default();
                text += &format!("| {value} | {cpu:.2} | {:.0} | {} µs |\n", report.deliveries_per_second, report.latency_us.p99);
            }
        }
        text
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

fn technique(extent: Extent, transport: Transport, interval: f64, rate: f64) -> Scenario {
    let polls = transport == Transport::Poll;
    // Whoever polls has to have polled once before it is as it will be for ever.
    let warm_up = if polls { interval } else { 0.5 };
    let least = if extent.quick { 1.0 } else { 4.0 };
    let seconds = if rate > 0.0 && rate < 1.0 { 2.0 / rate } else { least };
    Scenario {
        name: format!("{rate} updates/s"),
        transport,
        subscribers: if extent.quick { 100 } else { 200 },
        rate: Some(rate),
        publish: Publish::Ws,
        poll_interval: interval,
        seconds: Some(if polls { seconds.max(interval) } else { seconds }),
        warm_up: Some(warm_up),
        ..Scenario::default()
    }
}

fn publishing(extent: Extent, publish: Publish) -> Scenario {
    Scenario {
        name: PUBLISHING_NAME.to_owned(),
        subscribers: 1,
        rate: Some(10_000.0),
        publish,
        publishers: if publish == Publish::Http { 8 } else { 1 },
        seconds: Some(if extent.quick { 2.0 } else { 10.0 }),
        ..Scenario::default()
    }
}

fn sweeps(extent: Extent) -> Vec<Scenario> {
    let seconds = Some(if extent.quick { 0.5 } else { 3.0 });
    let size = Scenario { name: "payload-bytes".into(), vary: Some(Vary::PayloadBytes(SIZES.into())), seconds, ..Scenario::default() };
    let many = Scenario { name: "subscribers".into(), vary: Some(Vary::Subscribers(NUMBERS.into())), seconds, ..Scenario::default() };
    [size, many].iter().flat_map(Scenario::expand).collect()
}

/// The bare epoll server.
fn bare() -> TargetFile {
    TargetFile {
        name: "bare epoll".to_owned(),
        start: "bongsu bench ceiling --ports-file {dir}/ports.json".to_owned(),
        ports_file: Some("ports.json".to_owned()),
        ..TargetFile::default()
    }
}

/// Zero comes first: what it costs to have them there. The rarest rate lies between it and the next, by its share of the updates.
const RATES: [f64; 6] = [0.0, 0.1, 1.0, 10.0, 100.0, 1000.0];
const QUICK_RATES: [f64; 5] = [0.0, 1.0, 10.0, 100.0, 1000.0];
const RAREST: f64 = 0.01;

const TECHNIQUES: &[Technique] = &[
    ("poll every 30 s", Transport::Poll, 30.0),
    ("poll every 5 s", Transport::Poll, 5.0),
    ("poll every 1 s", Transport::Poll, 1.0),
    ("long poll", Transport::LongPoll, 1.0),
    ("server-sent events", Transport::Sse, 1.0),
    ("WebSocket", Transport::WebSocket, 1.0),
];

const PUBLISHING: [(&str, Publish); 3] = [
    ("POSTs on 8 kept connections", Publish::Http),
    ("one WebSocket, payloads alone", Publish::Ws),
    ("one WebSocket, native", Publish::Native),
];
const PUBLISHING_NAME: &str = "10,000 updates/s";
const SIZES: [usize; 7] = [16, 64, 128, 512, 1024, 8192, 65_536];
const NUMBERS: [usize; 5] = [1, 10, 100, 1000, 10_000];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_of_it_is_bounded() {
        for (quick, minutes) in [(true, 3.0), (false, 20.0)] {
            let extent = Extent { quick };
            let rates = if quick { &QUICK_RATES[..] } else { &RATES[..] };
            let techniques = TECHNIQUES.iter().filter(|(_, _, interval)| !quick || *interval < 30.0);
            let scenarios = techniques
                .flat_map(|&(_, transport, interval)| rates.iter().map(move |&rate| technique(extent, transport, interval, rate)))
                .chain(PUBLISHING.map(|(_, publish)| publishing(extent, publish)))
                .chain(sweeps(extent).into_iter().flat_map(|scenario| [scenario.clone(), scenario]));
            let takes: f64 = scenarios.map(|scenario| scenario.takes(1.0)).sum();
            assert!(takes < minutes * 60.0 * 0.9, "{quick}: {takes} s");
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
