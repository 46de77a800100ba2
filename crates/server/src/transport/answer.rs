//! Answers to requests: what each must know of its request, and how it leaves, whatever carries it.

use bongsu_core::disconnect::Disconnect;
use bongsu_core::hub::SubscriberKey;
use bytes::{Bytes, BytesMut};

use crate::connection::Phase;
use crate::http::coding::{Coding, GZIP};
use crate::http::{Method, Problem, Request, Response, Version};
use crate::link::Link;
use crate::metrics::{self, CloseReason, Route};
use crate::worker::{LINGER_MS, Worker};

/// What an answer must know of its request.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) route: Route,
    pub(crate) head_only: bool,
    pub(crate) keep_alive: bool,
    pub(crate) version: Version,
    /// How its body may be coded.
    pub(crate) coding: Coding,
    /// The listed origin that asked, if any, which browsers want named.
    pub(crate) origin: Option<Box<str>>,
}

impl Worker {
    /// Answers a request, and goes on to the next, if the connection is kept.
    pub(crate) fn answer(&mut self, key: SubscriberKey, exchange: &Exchange, response: Response) {
        if self.leaving.is_some() && response.status < 300 {
            let retry_after_s = self.reconnect_ms().div_ceil(1000).to_string();
            return self.answer_last(key, exchange, response.header("retry-after", &retry_after_s), CloseReason::Done);
        }
        if !exchange.keep_alive || self.leaving.is_some() {
            return self.answer_last(key, exchange, response, CloseReason::Done);
        }
        self.metrics.request(exchange.route, response.status);
        let idle_ms = self.shared.config.http.idle_timeout.as_millis();
        let response = with_origin(response, exchange, &self.shared.vary_origin);
        let bytes = self.whole(key, response, exchange.head_only, true);
        self.set_phase(key, Phase::Head);
        self.become_kind(key, metrics::TransportKind::Http);
        self.arm(key, self.now_ms() + idle_ms);
        if bytes.is_empty() {
            self.go_on_answering(key);
        } else {
            self.send(key, bytes);
        }
    }

    /// Refuses a request, which was read whole.
    pub(crate) fn refuse(&mut self, key: SubscriberKey, exchange: &Exchange, problem: Problem) {
        self.metrics.fault(problem.code);
        self.answer(key, exchange, problem.into_response());
    }

    /// Answers a request and closes the connection.
    pub(super) fn answer_last(&mut self, key: SubscriberKey, exchange: &Exchange, response: Response, reason: CloseReason) {
        self.metrics.request(exchange.route, response.status);
        let response = with_origin(response, exchange, &self.shared.vary_origin);
        let bytes = self.whole(key, response, exchange.head_only, false);
        // An answer may be long; a refusal is not worth a wait.
        let grace_ms = if reason == CloseReason::Done { self.shared.config.http.idle_timeout.as_millis() } else { LINGER_MS };
        self.finish(key, bytes, reason, grace_ms);
    }

    /// An answer in the bytes of its connection. On an HTTP/2 stream the head leaves here, in a frame of its own.
    /// One that is long is begun, and nothing of it returned.
    pub(crate) fn whole(&mut self, key: SubscriberKey, response: Response, head_only: bool, keep_alive: bool) -> Bytes {
        let mut response = self.with_hsts(key, response);
        let long = if head_only { None } else { response.take_long() };
        let (head, body) = match (self.hub.sink(key).map(|connection| &connection.link), &long) {
            (Some(Link::Stream(stream)), _) => (BytesMut::new(), stream.answer(response, head_only)),
            (_, Some(_)) => (response.into_sized_head(keep_alive), Bytes::new()),
            (_, None) => (BytesMut::new(), response.into_bytes(head_only, keep_alive)),
        };
        if let Some(unsent) = long {
            self.begin_answer(key, head, unsent);
        }
        body
    }

    /// The beginning of an answer whose body comes as it happens, as far as it leaves with the first bytes of it.
    pub(crate) fn begin(&mut self, key: SubscriberKey, response: Response) -> BytesMut {
        let response = self.with_hsts(key, response);
        match self.hub.sink(key).map(|connection| &connection.link) {
            Some(Link::Stream(stream)) => {
                stream.begin(response);
                BytesMut::new()
            }
            _ => response.into_head(),
        }
    }

    /// What a connection that only does HTTP is told at the end: nothing between requests, and to a request that is under way a
    /// refusal that says to try again.
    pub(crate) fn request_farewell(&mut self, key: SubscriberKey, why: &Disconnect) -> Bytes {
        let Some(connection) = self.hub.sink(key) else { return Bytes::new() };
        let is_answered = matches!(connection.phase, Phase::Head) && connection.unread.is_empty() && connection.held.is_none();
        // What is to be told must not fall into the midst of an answer.
        if is_answered || self.answers.contains_key(&key) {
            return Bytes::new();
        }
        let code = if *why == Disconnect::Overloaded { "overloaded" } else { "going-away" };
        let problem = Problem::new(503, code, why.goodbye().reason).with("retry-after", self.reconnect_ms().div_ceil(1000));
        self.whole(key, problem.into_response(), false, false)
    }

    /// Tells browsers to come by TLS only, where they did (RFC 6797, 7.2: only there).
    fn with_hsts(&mut self, key: SubscriberKey, response: Response) -> Response {
        let Some(tls) = &self.shared.tls else { return response };
        if !self.hub.sink(key).is_some_and(|connection| connection.link.is_sealed()) {
            return response;
        }
        match tls.hsts_seconds() {
            Some(seconds) => response.header("strict-transport-security", &format!("max-age={seconds}")),
            None => response,
        }
    }

    /// Gives an answer its body, coded where the request takes that and it is worth it.
    pub(crate) fn coded_body(&mut self, response: Response, coding: Coding, content_type: &str, body: Bytes) -> Response {
        if !self.coder.applies(coding, body.len()) {
            return response.body(content_type, body);
        }
        response.header("content-encoding", GZIP).body(content_type, self.coder.gzip(&body))
    }
}

impl Exchange {
    /// For the only answer that a connection gets.
    pub(super) fn last(request: &Request) -> Self {
        Self { head_only: request.method() == Method::Head, version: request.version, ..Self::unread() }
    }

    /// For an answer to a request that could not be understood.
    pub(super) fn unread() -> Self {
        Self { route: Route::Other, head_only: false, keep_alive: false, version: Version::Http11, coding: Coding::Identity, origin: None }
    }
}

/// Names the listed origin that asked; where origins are listed at all, caches must keep their answers apart.
pub(crate) fn with_origin(response: Response, exchange: &Exchange, vary_origin: &Option<&'static str>) -> Response {
    let response = response.vary_also(*vary_origin);
    let Some(origin) = &exchange.origin else { return response };
    response.header("access-control-allow-origin", origin).header("access-control-expose-headers", "bongsu-cursor, etag, link, retry-after")
}
