//! What form of answer a request asks for: `Accept`, and the preference to wait.

use super::problem::Problem;
use super::request::Request;
use super::text::{items, split, split_once};

/// The headers of a request that choose its answer, for caches to tell answers apart (RFC 9110, 12.5.5): form, wait, start and
/// coding.
pub const VARY: &str = "Accept, Prefer, Last-Event-ID, Accept-Encoding";

/// The forms in which a channel can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A page of JSON: a poll or a long poll.
    Page,
    /// A stream of JSON lines.
    Lines,
    /// A stream of parts.
    Multipart,
    /// A stream of events.
    Events,
}

/// Chooses by `Accept` (RFC 9110, 12.5.1); of equals, the one that the header names first.
pub fn accept(request: &Request) -> Result<Wanted, Problem> {
    let mut best: Option<(u16, u8, Wanted)> = None;
    let mut any = false;
    // Two loops, since every poll passes here, and one over chained iterators costs more than what is found.
    for list in request.header_all("accept") {
        for range in items(list) {
            any = true;
            let (media, quality) = with_quality(range);
            let Some((specific, wanted)) = wanted_of(media) else { continue };
            let better = best.is_none_or(|(known, known_specific, _)| (quality, specific) > (known, known_specific));
            if quality > 0 && better {
                best = Some((quality, specific, wanted));
            }
        }
    }
    match best {
        Some((_, _, wanted)) => Ok(wanted),
        None if !any => Ok(Wanted::Page),
        None => Err(Problem::new(406, "not-acceptable", NOT_ACCEPTABLE)),
    }
}

/// Whether HTML is asked for by name and liked at least as much as plain text: a browser that follows a link, not curl.
pub fn prefers_html(request: &Request) -> bool {
    let quality = |wanted: &str| {
        let named = request.header_items("accept").map(with_quality).filter(|(media, _)| media.eq_ignore_ascii_case(wanted));
        named.map(|(_, quality)| quality).max()
    };
    quality("text/html").is_some_and(|html| html > 0 && html >= quality("text/plain").unwrap_or(0))
}

/// The preference to wait, in seconds (RFC 7240, 4.3), from the header.
pub fn prefer_wait(request: &Request) -> Option<&str> {
    let preferences = request.header_items("prefer").flat_map(|value| split(value, b';'));
    preferences
        .filter_map(|preference| preference.split_once('='))
        .find_map(|(name, value)| name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"')))
}

/// One of the things that a header lists, without its parameters, and how much it is liked, in thousandths.
pub(super) fn with_quality(item: &str) -> (&str, u16) {
    let Some((media, parameters)) = split_once(item, b';') else { return (item, 1000) };
    (media.trim_ascii(), split(parameters, b';').map(str::trim_ascii).find_map(quality_of).unwrap_or(1000))
}

/// The quality that a parameter gives, in thousandths; `None` if it is another parameter.
fn quality_of(parameter: &str) -> Option<u16> {
    let value = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?;
    // A quality that breaks the grammar counts as refused rather than as wanted.
    Some(value.parse::<f32>().map_or(0, |quality| (quality.clamp(0.0, 1.0) * 1000.0) as u16))
}

fn wanted_of(media: &str) -> Option<(u8, Wanted)> {
    let is = |known: &str| media.eq_ignore_ascii_case(known);
    match () {
        () if is("application/json") => Some((2, Wanted::Page)),
        () if is("application/x-ndjson") || is("application/ndjson") || is("application/jsonl") => Some((2, Wanted::Lines)),
        () if is("multipart/mixed") => Some((2, Wanted::Multipart)),
        () if is("text/event-stream") => Some((2, Wanted::Events)),
        () if is("application/*") => Some((1, Wanted::Page)),
        () if is("multipart/*") => Some((1, Wanted::Multipart)),
        () if is("*/*") => Some((0, Wanted::Page)),
        () => None,
    }
}

const NOT_ACCEPTABLE: &str = "a channel can be read as application/json (poll; with Prefer: wait=25 a long poll), \
    application/x-ndjson, multipart/mixed or text/event-stream, or over a WebSocket";

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::http::HeadLimits;

    fn request(headers: &str) -> Request {
        let mut head = BytesMut::from(format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_str());
        Request::parse(&mut head, HeadLimits { bytes_max: 1000, headers_max: 10 }).expect("well formed").expect("whole")
    }

    #[test]
    fn chooses_the_form_that_is_wanted_most() {
        for (header, wanted) in [
            ("", Some(Wanted::Page)),
            ("accept: */*\r\n", Some(Wanted::Page)),
            ("accept: text/event-stream\r\n", Some(Wanted::Events)),
            ("accept: application/x-ndjson, application/json;q=0.5\r\n", Some(Wanted::Lines)),
            ("accept: application/json;q=0.1, multipart/mixed\r\n", Some(Wanted::Multipart)),
            ("accept: */*, text/event-stream\r\n", Some(Wanted::Events)),
            ("accept: text/html, */*;q=0.1\r\n", Some(Wanted::Page)),
            ("accept: text/html\r\n", None),
            ("accept: application/json;q=0\r\n", None),
        ] {
            assert_eq!(accept(&request(header)).ok(), wanted, "{header}");
        }
    }

    #[test]
    fn knows_a_browser_by_what_it_accepts() {
        for (header, html) in [
            ("", false),
            ("accept: */*\r\n", false),
            ("accept: text/html,application/xml;q=0.9,*/*;q=0.8\r\n", true),
            ("accept: text/plain, text/html;q=0.5\r\n", false),
            ("accept: text/html;q=0\r\n", false),
        ] {
            assert_eq!(prefers_html(&request(header)), html, "{header}");
        }
    }

    #[test]
    fn finds_the_wait() {
        assert_eq!(prefer_wait(&request("prefer: respond-async, wait=25\r\n")), Some("25"));
        assert_eq!(prefer_wait(&request("prefer: Wait=\"x\"\r\n")), Some("x"));
        assert_eq!(prefer_wait(&request("prefer: return=minimal\r\n")), None);
    }
}
