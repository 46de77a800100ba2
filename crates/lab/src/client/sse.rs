//! Server-sent events: one answer that goes on, an event for each record, as a browser's `EventSource` gets it.

use std::time::Duration;

use bongsu_core::{ChannelName, Cursor, Start};
use hyper::body::Incoming;
use serde_json::Value;

use super::event::Event;
use super::event_source::{Item, Parser};
use super::fault::ClientFault;
use super::http::{Http, Limits, next_chunk};
use super::record::{self, Record};
use super::stream;
use super::target::{Target, add_query, add_start};

/// A subscriber to a stream of events.
#[derive(Debug)]
pub struct Sse {
    /// Kept because the connection lives as long as its sender.
    _http: Http,
    body: Incoming,
    parser: Parser,
    only: ChannelName,
    limits: Limits,
    retry: Option<Duration>,
}

impl Sse {
    /// Asks for the events, in their whole JSON form, and waits for the head of the answer.
    pub async fn open(target: &Target, channel: &ChannelName, start: &Start, limits: Limits) -> Result<Self, ClientFault> {
        let mut path = target.channel_path(channel);
        add_start(&mut path, start);
        // The plain form cannot carry a carriage return in its data; the JSON form is exact.
        add_query(&mut path, "format", Some("json"));
        let (http, body) = stream::open_path(target, &path, "text/event-stream", limits).await?;
        Ok(Self { _http: http, body, parser: Parser::new(limits.record_bytes_max), only: channel.clone(), limits, retry: None })
    }

    /// The next event, or nothing once the server ended the stream.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientFault> {
        loop {
            if let Some(item) = self.parser.take()? {
                return self.read(item).map(Some);
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

    fn read(&mut self, item: Item) -> Result<Event, ClientFault> {
        match item {
            Item::Comment => Ok(Event::Heartbeat),
            Item::Id(id) => Ok(Event::Started { channel: self.only.clone(), cursor: Cursor::parse(&id)? }),
            Item::Retry(ms) => {
                self.retry = Some(Duration::from_millis(ms));
                Ok(Event::Heartbeat)
            }
            Item::Event { name, data, id } => self.read_event(&name, &data, &id),
        }
    }

    fn read_event(&self, name: &str, data: &str, id: &str) -> Result<Event, ClientFault> {
        let event = match record::read(wrapped(name, data).as_bytes(), Some(&self.only))? {
            Record::Event(event) => event,
            Record::Error { code, message, .. } => return Err(ClientFault::Told { code, message }),
            Record::Done { .. } => Event::Heartbeat,
        };
        let place = match &event {
            Event::Publication(published) => &published.position,
            Event::Gap(gap) => &gap.resumed,
            _ => return Ok(event),
        };
        // A browser resumes from the id, so it has to be the place that the record tells.
        if place.as_str() != id {
            return Err(ClientFault::contract(format!("an event at {place} with the id {id:?}")));
        }
        Ok(event)
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
