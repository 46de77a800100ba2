//! What was measured as plots.

use super::steps::{BARE, OWN, PUBLISHING_NAME};
use super::{Cell, Point, Techniques, bytes_in_words, subscribers_in_words};
use crate::bench::BenchFault;
use crate::bench::figure::{Figure, Spread};
use crate::bench::plot::{Curve, Lines, bars};
use crate::load::Report;

impl Techniques {
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

    /// One figure of the three ways in which updates get in.
    pub(super) fn publishing_bars(&self, key: &str) -> Result<Option<String>, BenchFault> {
        let Some(figure) = Figure::named(key) else { return Ok(None) };
        let bar = |(name, report): &(String, Report)| {
            let value = (figure.read)(report)?;
            Some((name.clone(), Spread { median: value, least: value, most: value }))
        };
        let all: Vec<_> = self.publishing.iter().filter_map(bar).collect();
        bars(&format!("{PUBLISHING_NAME} to one subscriber: {}", figure.name), &all, &|value| figure.show(value))
    }
}

/// What is drawn of the grid.
const GRID_PLOTS: [(&str, &str); 3] =
    [("cpu", "The server's processor time for a delivery"), ("rate", "Deliveries a second"), ("p99", "99 of 100 deliveries come within")];
