//! What a request in the clear is told where TLS is spoken: to come by `https://`. And what an ACME authority asks there.

use bongsu_core::hub::SubscriberKey;
use bytes::Bytes;

use super::answer::Exchange;
use crate::http::{Method, Problem, Request, Response};
use crate::metrics::CloseReason;
use crate::worker::{Door, Worker};

impl Worker {
    /// Answers a request that came in the clear, and nothing else on its connection.
    pub(crate) fn lead_elsewhere(&mut self, key: SubscriberKey, request: &Request) {
        let exchange = Exchange::last(request);
        let response = match self.challenge_answer(request) {
            Some(answer) => Response::new(200).header("cache-control", "no-store").body("application/octet-stream", answer),
            None => self.way_to_tls(request),
        };
        self.answer_last(key, &exchange, response, CloseReason::Done);
    }

    /// Refuses HTTP/2 in the clear, in its own words.
    pub(crate) fn refuse_clear_http2(&mut self, key: SubscriberKey) {
        self.finish(key, Bytes::from_static(GOAWAY), CloseReason::Fault, LINGER_MS);
    }

    /// RFC 8555, 8.3: the authority asks for what we were told, at a path that names the challenge.
    fn challenge_answer(&self, request: &Request) -> Option<String> {
        let token = request.target().strip_prefix("/.well-known/acme-challenge/")?;
        self.shared.tls.as_ref()?.challenge_answer(token)
    }

    fn way_to_tls(&mut self, request: &Request) -> Response {
        let host = request.header("host").unwrap_or_default();
        // To be sent on to any other host would make a tool of us for those who send others here.
        if !self.shared.guard(Door::Http).knows_host(host) {
            self.metrics.fault("foreign-host");
            return Problem::new(421, "foreign-host", "this server does not answer to that name, and speaks TLS; use https://")
                .into_response();
        }
        let location = self.shared.http_address_for(host) + request.target();
        if matches!(request.method(), Method::Get | Method::Head) {
            return Response::new(308)
                .header("location", &format!("https://{location}"))
                .header("cache-control", "no-store")
                .body("text/plain", "");
        }
        let detail = format!("what was sent came in the clear and was not acted on; send it to https://{location}");
        // RFC 9110, 15.5.22: the answer names what it wants.
        Problem::new(426, "tls-wanted", detail).with("upgrade", "TLS/1.2").with("connection", "Upgrade").into_response()
    }
}

/// An empty SETTINGS frame and a GOAWAY with INADEQUATE_SECURITY (RFC 9113, 6.5, 6.8 and 7) that says what is wanted.
const GOAWAY: &[u8] = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x1f\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0cTLS is wanted: https://";
const LINGER_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goaway_is_as_long_as_it_says() {
        let frame = &GOAWAY[9..];
        assert_eq!(usize::from(frame[2]), frame.len() - 9);
    }
}
