//! Which technique when: the same updates to the same number of subscribers by polls, long polls, server-sent events and WebSockets, at
//! rates from one in a hundred seconds to a thousand a second; a stream of updates by POSTs and by a WebSocket; and how cost goes with
//! size and number. From this project's own server and the bare one.

mod tables;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::BenchFault;
use super::compare::run;
use super::figure::{Figure, Spread};
use super::plot::{Curve, Lines, bars};
use super::scenario::{Publish, Scenario};
use super::server::Start;
use super::target::TargetFile;
use crate::load::{Progress, Report, Transport};

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

/// A technique: its name, how its subscribers receive, and for polls the seconds between two.
type Technique = (&'static str, Transport, f64);

/// One run: of what it is a part, whose name it goes by, and against which server.
struct Step {
    part: Part,
    name: String,
    scenario: Scenario,
    server: Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Technique,
    Publishing,
    Grid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Own,
    Bare,
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
                .map(|(name, points)| (name.clone(), points.iter().map(|point| (point.rate, read(point))).collect()).into())
                .collect(),
        };
        let mut plots = vec![
            ("load".to_owned(), of("The server's processor time for each subscriber", "µs of a second", |point| point.cpu_us)),
            ("bytes".to_owned(), of("Bytes between server and each subscriber, both ways", "bytes a second", |point| point.bytes)),
            ("delay".to_owned(), of("From an update to its subscribers, mean", "milliseconds", |point| point.delay_ms.0)),
        ];
        for (key, title) in GRID_PLOTS {
            let Some(figure) = Figure::named(key) else { continue };
            let by_number = self.grid_lines(title, figure, "subscribers", |cell| (cell.payload_bytes, cell.subscribers), bytes_in_words);
            let mut by_size =
                self.grid_lines(title, figure, "payload, bytes", |cell| (cell.subscribers, cell.payload_bytes), subscribers_in_words);
            // All of them would hide each other.
            by_size.curves.retain(|curve| !curve.name.starts_with("10 ") && !curve.name.starts_with("100 "));
            plots.extend([(format!("subscribers-{key}"), by_number), (format!("payload-bytes-{key}"), by_size)]);
        }
        plots
    }

    /// A figure over the grid: a colour for each of what `split` tells first, over what it tells second; the bare server with dashes.
    fn grid_lines(&self, title: &str, figure: &Figure, x: &str, split: fn(&Cell) -> (usize, usize), words: fn(usize) -> String) -> Lines {
        let mut keys: Vec<usize> = self.grid.iter().map(|cell| split(cell).0).collect();
        keys.sort_unstable();
        keys.dedup();
        let curve = |(color, key): (usize, usize), server: &str| {
            let cells = self.grid.iter().filter(|cell| split(cell).0 == key && cell.server == server);
            let points = cells.filter_map(|cell| Some((split(cell).1 as f64, (figure.read)(&cell.report)?))).collect();
            Curve { name: format!("{}, {server}", words(key)), points, style: Some((color, server != OWN)) }
        };
        let curves = keys.into_iter().enumerate().flat_map(|key| [OWN, BARE].map(|server| curve(key, server))).collect();
        Lines {
            title: format!("{title} (one publication in flight)"),
            x: x.to_owned(),
            y: figure.name.to_owned(),
            log: (true, true),
            curves,
        }
    }

    fn publishing_bars(&self, key: &str) -> Result<Option<String>, BenchFault> {
        let Some(figure) = Figure::named(key) else { return Ok(None) };
        let bar = |(name, report): &(String, Report)| {
            let value = (figure.read)(report)?;
            Some((name.clone(), Spread { median: value, least: value, most: value }))
        };
        let all: Vec<_> = self.publishing.iter().filter_map(bar).collect();
        bars(&format!("{PUBLISHING_NAME} to one subscriber: {}", figure.name), &all, &|value| figure.show(value))
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
        seconds: Some(if extent.quick { 2.0 } else { 8.0 }),
        ..Scenario::default()
    }
}

fn cell(extent: Extent, payload_bytes: usize, subscribers: usize) -> Scenario {
    Scenario {
        name: format!("{subscribers} subscribers, {}", bytes_in_words(payload_bytes)),
        subscribers,
        payload_bytes,
        seconds: Some(if extent.quick { 0.4 } else { 1.5 }),
        ..Scenario::default()
    }
}

fn steps(extent: Extent) -> Vec<Step> {
    let mut steps = Vec::new();
    for &(name, transport, interval) in TECHNIQUES.iter().filter(|(_, _, interval)| !extent.quick || *interval < 30.0) {
        let rates = if extent.quick { QUICK_RATES } else { RATES };
        // Where a run takes a minute there are fewer.
        for &rate in rates.iter().filter(|rate| interval < 30.0 || **rate != 10.0) {
            let scenario = technique(extent, transport, interval, rate);
            steps.push(Step { part: Part::Technique, name: name.to_owned(), scenario, server: Server::Own });
        }
    }
    for (name, publish) in PUBLISHING {
        let scenario = publishing(extent, publish);
        steps.push(Step { part: Part::Publishing, name: name.to_owned(), scenario, server: Server::Own });
    }
    for &size in if extent.quick { QUICK_SIZES } else { SIZES } {
        for &many in NUMBERS {
            for (name, server) in [(BARE, Server::Bare), (OWN, Server::Own)] {
                steps.push(Step { part: Part::Grid, name: name.to_owned(), scenario: cell(extent, size, many), server });
            }
        }
    }
    steps
}

/// 16 B, 1 KiB, 64 KiB.
fn bytes_in_words(bytes: usize) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes / 1024) }
}

fn subscribers_in_words(many: usize) -> String {
    if many == 1 { "1 subscriber".to_owned() } else { format!("{many} subscribers") }
}

/// This project's server, with room for what a poll every 30 s has to catch up with.
fn own() -> TargetFile {
    TargetFile::itself("--workers 1 --set history.publications_max=100000 --set history.bytes_max=64MiB")
}

/// The bare epoll server.
fn bare() -> TargetFile {
    TargetFile {
        name: BARE.to_owned(),
        start: "bongsu bench ceiling --ports-file {dir}/ports.json".to_owned(),
        ports_file: Some("ports.json".to_owned()),
        ..TargetFile::default()
    }
}

/// What is drawn of the grid.
const GRID_PLOTS: [(&str, &str); 3] =
    [("cpu", "The server's processor time for a delivery"), ("rate", "Deliveries a second"), ("p99", "99 of 100 deliveries come within")];

const OWN: &str = "bongsu";
const BARE: &str = "bare epoll";

/// Zero comes first: what it costs to have them there. The rarest rate lies between it and the next, by its share of the updates.
const RATES: &[f64] = &[0.0, 0.1, 1.0, 10.0, 100.0, 1000.0];
const QUICK_RATES: &[f64] = &[0.0, 1.0, 10.0, 100.0, 1000.0];
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
const SIZES: &[usize] = &[16, 128, 1024, 8192, 65_536];
const QUICK_SIZES: &[usize] = &[128, 65_536];
const NUMBERS: &[usize] = &[1, 10, 100, 1000, 10_000];

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
