//! Server-sent events: one answer that goes on, an event for each record, as a browser's `EventSource` gets it.

use std::collections::VecDeque;
use std::time::Duration;

use bongsu_core::ChannelName;
use hyper::body::Incoming;
use serde_json::Value;

use super::event::Event;
use super::event_source::{Item, Parser};
use super::fault::ClientFault;
use super::http::{Http, Limits, next_chunk};
use super::record;
use super::stream;
use super::subject::Subject;
use super::target::{Target, add_query};

/// A subscriber to a stream of events.
#[derive(Debug)]
pub struct Sse {
    /// Kept because the connection lives as long as its sender.
    _http: Http,
    body: Incoming,
    parser: Parser,
    subject: Subject,
    /// Which channels have told their cursor in a block of their own.
    started: Vec<ChannelName>,
    ready: VecDeque<Event>,
    limits: Limits,
    retry: Option<Duration>,
}

impl Sse {
    /// Asks for the events, in their whole JSON form, and waits for the head of the answer.
    pub async fn open(target: &Target, subject: Subject, limits: Limits) -> Result<Self, ClientFault> {
        let mut path = subject.address();
        // The plain form cannot carry a carriage return in its data; the JSON form is exact.
        add_query(&mut path, "format", Some("json"));
        let (http, body) = stream::open(target, &path, "text/event-stream", limits).await?;
        let parser = Parser::new(limits.record_bytes_max);
        Ok(Self { _http: http, body, parser, subject, started: Vec::new(), ready: VecDeque::new(), limits, retry: None })
    }

    /// The next event, or nothing once the server ended the stream.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientFault> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(item) = self.parser.take()? {
                self.read(item)?;
                continue;
            }
            match next_chunk(&mut self.body, self.limits.silence_max).await? {
                Some(chunk) => self.parser.push(&chunk),
                None => return Ok(None),
            }
        }
    }

    /// How long the server asked to wait before reconnecting.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn read(&mut self, item: Item) -> Result<(), ClientFault> {
        match item {
            Item::Comment => self.ready.push_back(Event::Heartbeat),
            Item::Id(id) => self.read_id(&id)?,
            Item::Retry(ms) => self.retry = Some(Duration::from_millis(ms)),
            Item::Event { name, data, id } => {
                let events = record::read(wrapped(&name, &data).as_bytes(), Some(&self.subject))?.into_events()?;
                events.iter().try_for_each(|event| self.check_id(event, &id))?;
                self.ready.extend(events);
            }
        }
        Ok(())
    }

    /// Each channel begins with a block of an id alone; that of several channels names those that began before as well.
    fn read_id(&mut self, id: &str) -> Result<(), ClientFault> {
        for (channel, cursor) in self.subject.cursors(id)? {
            if !self.started.contains(&channel) {
                self.started.push(channel.clone());
                self.ready.push_back(Event::Started { channel, cursor });
            }
        }
        Ok(())
    }

    /// A browser resumes from the id, so it has to be the place that the record tells.
    fn check_id(&self, event: &Event, id: &str) -> Result<(), ClientFault> {
        let (channel, place) = match event {
            Event::Publication(published) => (&published.channel, &published.position),
            Event::Gap(gap) => (&gap.channel, &gap.resumed),
            _ => return Ok(()),
        };
        if self.subject.cursor_of(channel, id).is_ok_and(|told| told == *place) {
            return Ok(());
        }
        Err(ClientFault::contract(format!("an event at {place} with the id {id:?}")))
    }
}

/// A gap or goodbye event carries the object itself; within a line the same object has its name before it.
fn wrapped<'a>(name: &str, data: &'a str) -> std::borrow::Cow<'a, str> {
    let is_bare = |name: &str| serde_json::from_str::<Value>(data).is_ok_and(|value| value.get(name).is_none());
    match name {
        "gap" | "bye" if is_bare(name) => format!("{{\"{name}\":{data}}}").into(),
        _ => data.into(),
    }
}
