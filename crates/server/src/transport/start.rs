//! Where a request asks to start: its query and `Last-Event-ID`, read once for every transport.

use std::borrow::Cow;

use bongsu_core::{ChannelName, CompositeCursor, Cursor, Start};
use smallvec::SmallVec;

use crate::http::target::{Decoded, Target};
use crate::http::{Problem, Request};

/// What a request's query says.
#[derive(Debug, Default)]
pub(crate) struct Query<'a> {
    /// The channels named, in order, each once.
    pub(crate) channels: Vec<ChannelName>,
    /// Where to start.
    pub(crate) start: Option<Asked<'a>>,
    /// How many seconds a long poll waits.
    pub(crate) wait: Option<Cow<'a, str>>,
    /// Whether events carry the whole JSON form.
    pub(crate) json_events: bool,
}

/// A start as it was asked for; a cursor is understood once it is known how many channels it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    Live,
    Earliest,
    Last(u64),
    After(Cow<'a, str>),
}

/// Where each channel of a request begins; mostly there is one.
pub(crate) type Starts = SmallVec<[Start; 1]>;

impl<'a> Query<'a> {
    /// Reads the query of a request, and `Last-Event-ID`, which wins: a browser that reconnects sends both.
    pub(crate) fn read(request: &'a Request) -> Result<Self, Problem> {
        let mut query = Self::default();
        for (name, value) in Target::parse(request.target()).parameters() {
            match name.as_bytes() {
                b"channel" => query.add_channel(&value)?,
                b"after" => query.set_start(Asked::After(value.into_text()))?,
                b"earliest" => query.set_start(Asked::Earliest)?,
                b"live" => query.set_start(Asked::Live)?,
                b"last" => query.set_start(Asked::Last(parse_last(&value.into_text())?))?,
                b"wait" => query.wait = Some(value.into_text()),
                b"format" => query.json_events = parse_format(&value.into_text())?,
                // Others, such as those that keep caches away, mean nothing here.
                _ => (),
            }
        }
        if let Some(id) = request.header("last-event-id").filter(|id| !id.is_empty()) {
            query.start = Some(Asked::After(Cow::Borrowed(id)));
        }
        Ok(query)
    }

    /// The start of each channel. `composite` says whether a cursor given is of several channels.
    pub(crate) fn starts(&self, channels: &[ChannelName], composite: bool, default: &Start) -> Result<Starts, Problem> {
        let same = |start: Start| Ok(std::iter::repeat_n(start, channels.len()).collect());
        match &self.start {
            None => same(default.clone()),
            Some(Asked::Live) => same(Start::Live),
            Some(Asked::Earliest) => same(Start::Earliest),
            Some(Asked::Last(count)) => same(Start::Last(*count)),
            Some(Asked::After(text)) if composite => {
                let cursor = CompositeCursor::parse(text, channels.len().max(PARTS_MAX)).map_err(invalid_cursor)?;
                Ok(channels.iter().map(|channel| cursor.get(channel).map_or_else(|| default.clone(), Start::After)).collect())
            }
            Some(Asked::After(text)) => same(Start::After(Cursor::parse(text).map_err(invalid_cursor)?)),
        }
    }

    fn add_channel(&mut self, value: &Decoded<'_>) -> Result<(), Problem> {
        let channel = value.to_channel().map_err(|fault| Problem::new(400, "invalid-channel", fault))?;
        if !self.channels.contains(&channel) {
            self.channels.push(channel);
        }
        Ok(())
    }

    fn set_start(&mut self, start: Asked<'a>) -> Result<(), Problem> {
        match self.start.replace(start) {
            None => Ok(()),
            Some(_) => Err(Problem::new(400, "two-starts", "give one start: after, earliest, last or live")),
        }
    }
}

fn parse_last(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::new(400, "invalid-last", "last must be a number of publications, as in ?last=20"))
}

fn parse_format(text: &str) -> Result<bool, Problem> {
    match text {
        "json" => Ok(true),
        "payload" => Ok(false),
        _ => Err(Problem::new(400, "unknown-format", "format is json (the whole publication) or payload (the default)")),
    }
}

fn invalid_cursor(fault: impl ToString) -> Problem {
    Problem::new(400, "invalid-cursor", fault)
}

/// A cursor may be of more channels than are asked for now.
const PARTS_MAX: usize = 1000;
