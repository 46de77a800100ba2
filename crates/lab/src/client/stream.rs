//! Streaming: one answer that goes on, a JSON line for each record.

use std::collections::VecDeque;
use std::time::Duration;

use http::{Response, header};
use hyper::body::Incoming;

use super::event::Event;
use super::fault::ClientFault;
use super::http::{Http, Limits, header_text, next_chunk, set};
use super::lines::Lines;
use super::record;
use super::subject::Subject;
use super::target::Target;

/// A subscriber to an NDJSON stream.
#[derive(Debug)]
pub struct Stream {
    /// Kept because the connection lives as long as its sender.
    _http: Http,
    body: Incoming,
    lines: Lines,
    subject: Subject,
    ready: VecDeque<Event>,
    limits: Limits,
}

impl Stream {
    /// Asks for the stream and waits for the head of the answer.
    pub async fn open(target: &Target, subject: Subject, limits: Limits) -> Result<Self, ClientFault> {
        let (http, body) = open(target, &subject.address(), "application/x-ndjson", limits).await?;
        let lines = Lines::new(limits.record_bytes_max);
        Ok(Self { _http: http, body, lines, subject, ready: VecDeque::new(), limits })
    }

    /// The next event, or nothing once the server ended the stream.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientFault> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(line) = self.lines.take()? {
                self.ready.extend(read_line(&line, &self.subject)?);
                continue;
            }
            match next_chunk(&mut self.body, self.limits.silence_max).await? {
                Some(chunk) => self.lines.push(&chunk),
                None if self.lines.is_unfinished() => return Err(ClientFault::broken("the stream ended in mid-line")),
                None => return Ok(None),
            }
        }
    }
}

fn read_line(line: &[u8], subject: &Subject) -> Result<Vec<Event>, ClientFault> {
    // An empty line keeps proxies from cutting.
    if line.trim_ascii().is_empty() {
        return Ok(vec![Event::Heartbeat]);
    }
    record::read(line, Some(subject))?.into_events()
}

/// Asks for an answer that goes on, of one media type, and sees that it is of that type.
pub(crate) async fn open(target: &Target, path: &str, accept: &str, limits: Limits) -> Result<(Http, Incoming), ClientFault> {
    let (http, response) = open_response(target, path, accept, limits).await?;
    Ok((http, response.into_body()))
}

/// The same, with the answer's head.
pub(crate) async fn open_response(
    target: &Target,
    path: &str,
    accept: &str,
    limits: Limits,
) -> Result<(Http, Response<Incoming>), ClientFault> {
    let mut http = Http::new(target, limits);
    let mut request = http.get(path)?;
    set(&mut request, header::ACCEPT, accept);
    let response = http.send(request, Duration::ZERO).await?;
    let kind = header_text(response.headers(), "content-type").unwrap_or_default();
    if !kind.starts_with(accept) {
        return Err(ClientFault::contract(format!("asked for {accept} and got {} {kind:?}", response.status())));
    }
    Ok((http, response))
}
