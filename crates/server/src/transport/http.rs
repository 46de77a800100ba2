//! Requests: from a head to a plan, from a plan and a body to an answer. Used by every transport that begins with HTTP.

use bongsu_core::hub::SubscriberKey;
use bytes::{Bytes, BytesMut};

use super::answer::Exchange;
use super::resource::{Resource, find, is_page, options};
use crate::config::Listener;
use crate::connection::{Connection, Gathering, Phase};
use crate::console;
use crate::front::{Whose, whose};
use crate::http::coding::Coding;
use crate::http::guard::Admitted;
use crate::http::target::Target;
use crate::http::{Body, BodyFault, BodyLength, HeadFault, Method, Problem, Request, Response};
use crate::link::Link;
use crate::metrics::{self, CloseReason, Route};
use crate::worker::{Door, Worker};

/// What a request turned out to ask for.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) resource: Resource,
    pub(crate) exchange: Exchange,
    body_bytes_max: usize,
}

impl Worker {
    /// Reads a request's head. Tells whether there may be more to do.
    pub(crate) fn on_head(&mut self, key: SubscriberKey, input: &mut BytesMut) -> bool {
        if input.is_empty() {
            return false;
        }
        if self.hub.sink(key).is_some_and(|connection| connection.fresh) {
            match whose(input) {
                Whose::Http1 => (),
                Whose::Http2 if self.hub.sink(key).is_some_and(|connection| connection.elsewhere) => {
                    self.refuse_clear_http2(key);
                    return false;
                }
                Whose::Http2 => {
                    self.set_phase(key, Phase::Handover);
                    return false;
                }
                Whose::Tls => {
                    self.refuse_tls(key);
                    return false;
                }
                Whose::Undecided => return self.await_rest_of_head(key),
            }
        }
        match Request::parse(input, self.shared.head_limits) {
            Ok(Some(request)) => self.on_request(key, request),
            Ok(None) => self.await_rest_of_head(key),
            Err(fault) => self.refuse_head(key, &fault),
        }
    }

    /// Gathers a request's body. Tells whether there may be more to do.
    pub(crate) fn on_body(&mut self, key: SubscriberKey, input: &mut BytesMut) -> bool {
        let Some(Connection { phase: Phase::Body(gathering), .. }) = self.hub.sink(key) else { return false };
        match gathering.body.take(input) {
            Ok(None) => false,
            Ok(Some(body)) => {
                let Some(Phase::Body(gathering)) = self.take_phase(key) else { return false };
                self.serve(key, &gathering.request, gathering.plan, body);
                true
            }
            Err(fault) => {
                let exchange = gathering.plan.exchange.clone();
                self.refuse_body(key, &exchange, fault);
                false
            }
        }
    }

    /// A request took too long to arrive, or none came.
    pub(crate) fn on_request_due(&mut self, key: SubscriberKey) {
        if self.is_body_on_its_way(key) {
            return;
        }
        if self.owes(key) {
            // It is not silent but reads its answer. One that stops is found as slow.
            let idle_ms = self.shared.config.http.idle_timeout.as_millis();
            return self.arm(key, self.now_ms() + idle_ms);
        }
        let Some(connection) = self.hub.sink(key) else { return };
        let begun = matches!(connection.phase, Phase::Body(_)) || !connection.unread.is_empty();
        if !begun {
            return self.close(key, CloseReason::Silent);
        }
        self.metrics.fault("request-timeout");
        let problem = Problem::new(408, "request-timeout", "the request did not arrive in time; send it again, faster");
        self.answer_last(key, &Exchange::unread(), problem.into_response(), CloseReason::Silent);
    }

    /// How often a body that is on its way is looked at.
    fn body_look_ms(&self) -> u64 {
        (self.shared.config.http.body_timeout.as_millis() / BODY_LOOKS).max(1)
    }

    /// Whether a body comes as fast as it must, and still has time: then it is looked at again.
    fn is_body_on_its_way(&mut self, key: SubscriberKey) -> bool {
        let (now_ms, least) = (self.now_ms(), self.shared.config.http.body_bytes_per_second_min.as_usize());
        let Some(Connection { phase: Phase::Body(gathering), .. }) = self.hub.sink(key) else { return false };
        let came = gathering.body.gathered_bytes() - std::mem::replace(&mut gathering.seen_bytes, gathering.body.gathered_bytes());
        let until_ms = gathering.until_ms;
        let look_ms = self.body_look_ms();
        let on_its_way = now_ms < until_ms && came as u64 >= least as u64 * look_ms / 1000;
        if on_its_way {
            self.arm(key, until_ms.min(now_ms + look_ms));
        }
        on_its_way
    }

    fn await_rest_of_head(&mut self, key: SubscriberKey) -> bool {
        let due_ms = self.now_ms() + self.shared.config.http.head_timeout.as_millis();
        let Some(connection) = self.hub.sink(key) else { return false };
        // The time runs from the head's first byte: a client that drips gains nothing by it.
        if connection.unread.is_empty() && !connection.in_head {
            connection.in_head = true;
            self.arm(key, due_ms);
        }
        false
    }

    pub(crate) fn refuse_head(&mut self, key: SubscriberKey, fault: &HeadFault) -> bool {
        let (status, code) = match fault {
            HeadFault::TooLong { .. } => (431, "head-too-long"),
            HeadFault::TooManyHeaders { .. } => (431, "too-many-headers"),
            HeadFault::BareLineEnd => (400, "bare-line-end"),
            HeadFault::ObsoleteFolding => (400, "obsolete-folding"),
            HeadFault::Malformed { .. } => (400, "malformed-request"),
            HeadFault::Version => (505, "http-version"),
            HeadFault::Host => (400, "host-header"),
            HeadFault::AmbiguousLength => (400, "ambiguous-length"),
            HeadFault::BadLength => (400, "bad-length"),
            HeadFault::TransferCoding => (501, "transfer-coding"),
            HeadFault::Expectation => (417, "expectation"),
            HeadFault::Protocol => (501, "unknown-protocol"),
        };
        self.metrics.fault(code);
        self.answer_last(key, &Exchange::unread(), Problem::new(status, code, fault).into_response(), CloseReason::Fault);
        false
    }

    fn refuse_body(&mut self, key: SubscriberKey, exchange: &Exchange, fault: BodyFault) {
        let (status, code) = match fault {
            BodyFault::TooLarge { .. } => (413, "body-too-large"),
            BodyFault::BadChunk { .. } => (400, "bad-chunk"),
        };
        self.metrics.fault(code);
        self.answer_last(key, exchange, Problem::new(status, code, fault).into_response(), CloseReason::Fault);
    }

    pub(crate) fn on_request(&mut self, key: SubscriberKey, request: Request) -> bool {
        if let Some(connection) = self.hub.sink(key) {
            connection.in_head = false;
            connection.fresh = false;
            if connection.elsewhere {
                self.lead_elsewhere(key, &request);
                return false;
            }
        }
        if let Err(problem) = self.recognise(key, &request) {
            self.metrics.fault(problem.code);
            self.answer_last(key, &Exchange::last(&request), problem.into_response(), CloseReason::Limit);
            return false;
        }
        let door = self.hub.sink(key).map_or(Door::Http, |connection| connection.visitor.door);
        let plan = match self.plan(&request, door) {
            Ok(plan) => plan,
            Err((exchange, problem)) => {
                // A body that nobody wants is not read: the connection ends instead.
                let exchange = Exchange { keep_alive: exchange.keep_alive && request.body == BodyLength::Known(0), ..exchange };
                self.refuse(key, &exchange, problem);
                return exchange.keep_alive;
            }
        };
        let body = match Body::new(request.body, plan.body_bytes_max) {
            Ok(body) => body,
            Err(fault) => {
                self.refuse_body(key, &plan.exchange, fault);
                return false;
            }
        };
        if request.body == BodyLength::Known(0) {
            self.serve(key, &request, plan, Bytes::new());
            return true;
        }
        let expects_continue = request.expects_continue;
        let now_ms = self.now_ms();
        let until_ms = now_ms + self.shared.config.http.body_timeout.as_millis();
        self.set_phase(key, Phase::Body(Box::new(Gathering { request: request.detach(), plan, body, until_ms, seen_bytes: 0 })));
        self.arm(key, until_ms.min(now_ms + self.body_look_ms()));
        if expects_continue {
            self.ask_for_body(key);
        }
        true
    }

    fn ask_for_body(&mut self, key: SubscriberKey) {
        match self.hub.sink(key).map(|connection| &connection.link) {
            Some(Link::Stream(stream)) => stream.ask_for_body(),
            _ => self.send(key, Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n")),
        }
    }

    /// Decides, by its head alone, whether a request may pass and what it is for.
    fn plan(&self, request: &Request, door: Door) -> Result<Plan, (Exchange, Problem)> {
        let mut exchange = Exchange {
            route: Route::Other,
            head_only: request.method() == Method::Head,
            keep_alive: request.keep_alive,
            version: request.version,
            coding: Coding::of(request),
            origin: None,
        };
        let path = Target::parse(request.target()).path;
        match self.shared.guard(door).check(request, is_page(path)) {
            Ok(Admitted::Own) => (),
            Ok(Admitted::Listed(origin)) => exchange.origin = Some(origin),
            Err(problem) => return Err((exchange, problem)),
        }
        let resource = match find(path, &self.shared.config).and_then(|resource| resource.at(door, &self.shared.config)) {
            Ok(resource) => resource,
            Err(problem) => return Err((exchange, problem)),
        };
        exchange.route = resource.route(request.method());
        if !resource.allows(request.method()) {
            let allowed = resource.allowed();
            let detail = format!("this resource allows {allowed}");
            return Err((exchange, Problem::new(405, "method-not-allowed", detail).with("allow", allowed)));
        }
        // There a success opens the WebSocket, so that no other answer may look like one.
        if request.tunnel && !matches!(resource, Resource::Channel(_) | Resource::Subscribe | Resource::Stomp | Resource::Echo) {
            return Err((exchange, Problem::new(400, "no-websocket", "there is no WebSocket at this path; open one on /channels/{name}")));
        }
        let http = &self.shared.config.http;
        let body_bytes_max = if matches!(resource, Resource::Batch) { http.batch_bytes_max } else { http.body_bytes_max };
        Ok(Plan { resource, exchange, body_bytes_max: body_bytes_max.as_usize() })
    }

    /// Serves a request that is there whole.
    fn serve(&mut self, key: SubscriberKey, request: &Request, plan: Plan, body: Bytes) {
        let Plan { resource, exchange, .. } = plan;
        let door = self.hub.sink(key).map_or(Door::Http, |connection| connection.visitor.door);
        if request.method() == Method::Options {
            return self.answer(key, &exchange, options(&resource, request, &exchange));
        }
        match (resource, request.method()) {
            (Resource::Channel(channel), Method::Post) => self.publish_body(key, &exchange, request, &channel, body),
            (Resource::Channel(channel), _) => self.read_one(key, &exchange, request, channel),
            (Resource::Subscribe, _) => self.read_several(key, &exchange, request),
            (Resource::Batch, _) => self.publish_batch(key, &exchange, body),
            (Resource::Stomp, _) => self.upgrade_stomp(key, &exchange, request),
            (Resource::Echo, _) => self.upgrade_echo(key, &exchange, request),
            (Resource::Metrics, _) => {
                let text = self.shared.metrics.render();
                let response = Response::new(200).header("cache-control", "no-store").header("vary", "Accept-Encoding");
                let response = self.coded_body(response, exchange.coding, metrics::CONTENT_TYPE, text.into());
                self.answer(key, &exchange, response);
            }
            (Resource::Health, _) => self.answer(key, &exchange, self.health(door)),
            (Resource::Index, _) => self.answer(key, &exchange, console::index(request, self.shared.config.console.enabled)),
            (Resource::Console(asset), _) => self.answer(key, &exchange, console::answer(request, asset)),
        }
    }

    /// Where the admin listener is on, others are told only what a load balancer must know.
    fn health(&self, door: Door) -> Response {
        let (status, text) = if self.leaving.is_some() { (503, "leaving") } else { (200, "ok") };
        let body = match door == Door::Admin || self.shared.config.listen.admin == Listener::Off {
            true => serde_json::json!({ "status": text, "version": env!("CARGO_PKG_VERSION") }),
            false => serde_json::json!({ "status": text }),
        };
        let body = body.to_string();
        Response::new(status).header("cache-control", "no-store").body("application/json", body)
    }

    fn take_phase(&mut self, key: SubscriberKey) -> Option<Phase> {
        self.hub.sink(key).map(|connection| std::mem::replace(&mut connection.phase, Phase::Head))
    }
}

/// How often a body may be looked at before its time is over.
const BODY_LOOKS: u64 = 6;
