//! Which runs there are, and against which server.

use super::{Extent, bytes_in_words};
use crate::bench::scenario::{Publish, Scenario};
use crate::bench::target::TargetFile;
use crate::load::Transport;

/// A technique: its name, how its subscribers receive, and for polls the seconds between two.
type Technique = (&'static str, Transport, f64);

/// One run: of what it is a part, whose name it goes by, and against which server.
pub(super) struct Step {
    pub(super) part: Part,
    pub(super) name: String,
    pub(super) scenario: Scenario,
    pub(super) server: Server,
}

/// What a run is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Technique,
    Publishing,
    Grid,
}

/// Whom it is put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Own,
    Bare,
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

/// All of it, in the order in which it is measured.
pub(super) fn steps(extent: Extent) -> Vec<Step> {
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

/// This project's server, with room for what a poll every 30 s has to catch up with.
pub(super) fn own() -> TargetFile {
    TargetFile::itself("--workers 1 --set history.publications_max=100000 --set history.bytes_max=64MiB")
}

/// The bare epoll server.
pub(super) fn bare() -> TargetFile {
    TargetFile {
        name: BARE.to_owned(),
        start: "bongsu bench ceiling --ports-file {dir}/ports.json".to_owned(),
        ports_file: Some("ports.json".to_owned()),
        ..TargetFile::default()
    }
}

pub(super) const OWN: &str = "bongsu";
pub(super) const BARE: &str = "bare epoll";

/// Zero comes first: what it costs to have them there. The rarest rate lies between it and the next, by its share of the updates.
const RATES: &[f64] = &[0.0, 0.1, 1.0, 10.0, 100.0, 1000.0];
const QUICK_RATES: &[f64] = &[0.0, 1.0, 10.0, 100.0, 1000.0];
pub(super) const RAREST: f64 = 0.01;

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
pub(super) const PUBLISHING_NAME: &str = "10,000 updates/s";
const SIZES: &[usize] = &[16, 128, 1024, 8192, 65_536];
const QUICK_SIZES: &[usize] = &[128, 65_536];
const NUMBERS: &[usize] = &[1, 10, 100, 1000, 10_000];
