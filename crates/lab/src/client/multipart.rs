//! Multipart: one answer that goes on, a part for each record, with the payload's very bytes.

use std::collections::VecDeque;

use base64::Engine as _;
use bongsu_core::{ChannelName, ContentType, Cursor};
use bytes::Bytes;
use http::HeaderMap;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::event::{Event, Published};
use super::fault::ClientFault;
use super::http::{Http, Limits, header_text, next_chunk};
use super::parts::{Parser, Part};
use super::record;
use super::stream;
use super::subject::Subject;
use super::target::Target;

/// A subscriber to a stream of parts.
#[derive(Debug)]
pub struct Multipart {
    /// Kept because the connection lives as long as its sender.
    _http: Http,
    body: Incoming,
    parser: Parser,
    subject: Subject,
    ready: VecDeque<Event>,
    limits: Limits,
}

impl Multipart {
    /// Asks for the parts and waits for the head of the answer.
    pub async fn open(target: &Target, subject: Subject, limits: Limits) -> Result<Self, ClientFault> {
        let (http, response) = stream::open_response(target, &subject.address(), "multipart/mixed", limits).await?;
        let kind = header_text(response.headers(), "content-type").unwrap_or_default();
        let parser = Parser::new(kind, limits.record_bytes_max)?;
        Ok(Self { _http: http, body: response.into_body(), parser, subject, ready: VecDeque::new(), limits })
    }

    /// The next event, or nothing once the server ended the stream.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientFault> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(part) = self.parser.take()? {
                self.ready.extend(read_part(&part, &self.subject)?);
                continue;
            }
            match next_chunk(&mut self.body, self.limits.silence_max).await? {
                Some(chunk) => self.parser.push(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// A part with a position is a publication; every other part is the JSON of a record.
fn read_part(part: &Part, subject: &Subject) -> Result<Vec<Event>, ClientFault> {
    let Some(position) = header_text(&part.headers, "bongsu-position") else {
        return record::read(&part.body, Some(subject))?.into_events();
    };
    let channel = match (decoded(&part.headers, "bongsu-channel"), subject.only()) {
        (Some(name), _) => ChannelName::parse(&name)?,
        (None, Some(only)) => only.clone(),
        (None, None) => return Err(ClientFault::contract("a part that does not say its channel")),
    };
    Ok(vec![Event::Publication(Box::new(Published {
        channel,
        position: Cursor::parse(position)?,
        data: read_body(part)?,
        content_type: header_text(&part.headers, "content-type").map(ContentType::parse).unwrap_or_default(),
        time: header_text(&part.headers, "bongsu-time").map(str::to_owned),
        key: decoded(&part.headers, "bongsu-key"),
        headers: own_headers(&part.headers),
    }))])
}

fn read_body(part: &Part) -> Result<Bytes, ClientFault> {
    if header_text(&part.headers, "content-transfer-encoding") != Some("base64") {
        return Ok(part.body.clone());
    }
    let mut data = Vec::new();
    for line in part.body.split(|&byte| byte == b'\n') {
        let decoded = base64::engine::general_purpose::STANDARD.decode(line.trim_ascii());
        data.extend(decoded.map_err(|_| ClientFault::contract("a part that is not the base64 it says"))?);
    }
    Ok(data.into())
}

/// The publication's own headers; a name's case is lost on the way, as in any header.
fn own_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let own = headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix("bongsu-header-")?, value.to_str().ok()?)));
    own.map(|(name, value)| (percent_decoded(name), percent_decoded(value))).collect()
}

fn decoded(headers: &HeaderMap, name: &str) -> Option<String> {
    header_text(headers, name).map(percent_decoded)
}

fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
