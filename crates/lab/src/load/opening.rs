//! What a connection says first and, where it polls, again and again: requests made of a target's templates.

use super::plan::{Plan, Target};
use super::transport::Framing;
use super::wire;

/// A connection's first request, and what follows once it is answered.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// Sent at once.
    pub(super) request: Vec<u8>,
    /// Sent as soon as the response's head is there.
    pub(super) then: Vec<u8>,
    /// Answers that are still to come before it counts as open; the response's head is one.
    pub(super) awaited: usize,
}

/// A request that repeats headers of the answer before.
#[derive(Debug, Default)]
pub(super) struct Next {
    /// The names of these headers.
    pub(super) names: Vec<String>,
    /// Text, and behind each piece but the last the value of the header of that number.
    pieces: Vec<(String, Option<usize>)>,
}

impl Opening {
    /// Of a subscriber to these channels.
    pub(super) fn of_subscriber(plan: &Plan, channels: &[usize]) -> Self {
        let target = &plan.target;
        let host = target.address.to_string();
        let path = wire::fill(&target.subscribe_path, channels);
        let way = target.transport.way();
        let frames = way.framing == Framing::Frames;
        let request = if frames {
            upgrade(&host, &path, target.subscribe_subprotocol.as_deref(), target.subscribe_extensions.as_deref())
        } else {
            get(&host, &path, way.accept, &[])
        };
        let then = lay_opening(&target.subscribe_opening, channels);
        let answers = answers(&target.subscribe_opening, target.subscribe_ready.as_deref(), channels.len());
        Self { request, then, awaited: 1 + if frames { answers } else { 0 } }
    }

    /// Of the WebSocket that publishes to a channel, or to all.
    pub(super) fn of_publisher(target: &Target, channel: usize) -> Self {
        let path = wire::fill(&target.publish_path, &[channel]);
        let request = upgrade(&target.address.to_string(), &path, target.publish_subprotocol.as_deref(), None);
        let then = lay_opening(&target.publish_opening, &[channel]);
        Self { request, then, awaited: 1 + answers(&target.publish_opening, target.publish_ready.as_deref(), 1) }
    }
}

impl Next {
    /// What a subscriber to these channels asks after its first answer.
    pub(super) fn new(target: &Target, channels: &[usize]) -> Self {
        let path = wire::fill(&target.next_path, channels);
        let request = get(&target.address.to_string(), &path, target.transport.way().accept, &target.next_headers);
        let mut next = Self::default();
        let mut rest = std::str::from_utf8(&request).unwrap_or_default();
        while let Some((text, name, behind)) =
            rest.split_once('{').and_then(|(text, open)| open.split_once('}').map(|(name, behind)| (text, name, behind)))
        {
            next.pieces.push((text.to_owned(), Some(next.names.len())));
            next.names.push(name.to_owned());
            rest = behind;
        }
        next.pieces.push((rest.to_owned(), None));
        next
    }

    /// Lays the request behind what is there.
    pub(super) fn lay(&self, kept: &[(String, String)], out: &mut Vec<u8>) {
        for (text, name) in &self.pieces {
            out.extend_from_slice(text.as_bytes());
            let value = name.and_then(|name| kept.get(name)).map(|(_, value)| value.as_bytes());
            out.extend_from_slice(value.unwrap_or_default());
        }
    }
}

/// A publish over HTTP.
pub(super) fn post(target: &Target, channel: usize, body: &str) -> Vec<u8> {
    let path = wire::fill(&target.publish_path, &[channel]);
    let headers = lines(&target.publish_headers);
    format!("POST {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n{body}", target.address, body.len()).into()
}

/// How many answers an opening is given.
fn answers(opening: &[String], ready: Option<&str>, channels: usize) -> usize {
    match opening.last() {
        Some(last) if last.contains("{channel}") => channels,
        Some(_) => 1,
        None => usize::from(ready.is_some()),
    }
}

fn lay_opening(opening: &[String], channels: &[usize]) -> Vec<u8> {
    let mut laid = Vec::new();
    for line in opening {
        let times = if line.contains("{channel}") { channels.len() } else { 1 };
        for (n, &channel) in channels.iter().enumerate().take(times) {
            let text = wire::fill(line, &[channel]).replace("{n}", &(n + 1).to_string());
            wire::lay_masked(1, text.as_bytes(), &mut laid);
        }
    }
    laid
}

/// A GET that asks for a WebSocket.
fn upgrade(host: &str, path: &str, subprotocol: Option<&str>, extensions: Option<&str>) -> Vec<u8> {
    let header = |name: &str, value: Option<&str>| value.map(|value| format!("{name}: {value}\r\n")).unwrap_or_default();
    let subprotocol = header("Sec-WebSocket-Protocol", subprotocol);
    let extensions = header("Sec-WebSocket-Extensions", extensions);
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{subprotocol}{extensions}\r\n"
    )
    .into()
}

/// A GET that asks for a page or a stream.
fn get(host: &str, path: &str, accept: &str, headers: &[(String, String)]) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n{}\r\n", lines(headers)).into()
}

fn lines(headers: &[(String, String)]) -> String {
    headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Transport;

    #[test]
    fn the_next_poll_repeats_what_the_last_answer_said() {
        let mut target = Target::plain(([127, 0, 0, 1], 80).into(), Transport::LongPoll);
        target.next_headers = vec![("If-None-Match".into(), "{etag}".into())];
        let next = Next::new(&target, &[3]);
        assert_eq!(next.names, ["bongsu-cursor", "etag"]);
        let mut out = Vec::new();
        next.lay(&[("bongsu-cursor".into(), "e-2".into()), ("etag".into(), "\"x\"".into())], &mut out);
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("GET /channels/bench-3?wait=25&after=e-2 HTTP/1.1\r\n"), "{text}");
        assert!(text.ends_with("\r\nIf-None-Match: \"x\"\r\n\r\n"), "{text}");
    }

    #[test]
    fn an_opening_line_with_a_channel_is_said_for_each() {
        let target = Target::plain(([127, 0, 0, 1], 80).into(), Transport::Native);
        let opening = Opening::of_subscriber(&Plan { channels: 3, ..Plan::new(target) }, &[0, 1, 2]);
        assert_eq!(opening.awaited, 4);
    }
}
