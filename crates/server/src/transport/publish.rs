//! Publishing over HTTP: one publication as a body, or a batch of lines.

use bongsu_core::directory::PublishFault;
use bongsu_core::disconnect::Disconnect;
use bongsu_core::hub::SubscriberKey;
use bongsu_core::idempotency::{IDEMPOTENCY_KEY_BYTES_MAX, IdempotencyKey};
use bongsu_core::json::{JSON_DEPTH_MAX, check_json};
use bongsu_core::native::{self, Publish};
use bongsu_core::websocket::close;
use bongsu_core::{ChannelName, ContentType, Draft, Position};
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::answer::Exchange;
use crate::http::{Problem, Request, Response};
use crate::metrics::TransportKind;
use crate::pacing::TooFast;
use crate::worker::Worker;
use crate::worker::held::{Pending, Then};

/// A batch on its way: what is done, and what is still to do.
pub(crate) struct Batch {
    exchange: Exchange,
    body: Bytes,
    results: BytesMut,
    /// Channels for which it has waited in vain: their later lines are refused at once, so that none overtakes another.
    given_up: Vec<ChannelName>,
}

impl Batch {
    /// The next line that is not empty.
    fn next_line(&mut self) -> Option<Bytes> {
        while !self.body.is_empty() {
            let end = memchr::memchr(b'\n', &self.body).unwrap_or(self.body.len());
            let line = self.body.split_to(end);
            self.body.advance(self.body.len().min(1));
            let trimmed = line.trim_ascii();
            if !trimmed.is_empty() {
                return Some(line.slice_ref(trimmed));
            }
        }
        None
    }

    /// It has waited for a channel in vain.
    pub(crate) fn give_up(&mut self, channel: ChannelName) {
        self.given_up.push(channel);
    }

    fn result(&mut self, id: Option<&native::Id>, result: Result<Position, PublishFault>) {
        write_result(id, result, &mut self.results);
        self.results.put_u8(b'\n');
    }
}

impl Worker {
    /// `POST /channels/{name}`: publishes the body as it is.
    pub(crate) fn publish_body(&mut self, key: SubscriberKey, exchange: &Exchange, request: &Request, channel: &ChannelName, body: Bytes) {
        let drafted = self.charge(key, body.len()).map_err(TooFast::problem).and_then(|()| draft_of(request, body));
        match drafted {
            Ok((draft, idempotency)) => {
                let then = Then::Answer(exchange.clone());
                let following = Vec::new();
                let pending = Pending { kind: TransportKind::Http, channel: channel.clone(), draft, idempotency, following, then };
                self.publish_patiently(key, pending, &mut BytesMut::new());
            }
            Err(problem) => self.refuse(key, exchange, problem),
        }
    }

    /// `POST /publish`: a native publish a line, a result a line, in order. A line that is refused does not stop those after it; one
    /// that waits does.
    pub(crate) fn publish_batch(&mut self, key: SubscriberKey, exchange: &Exchange, body: Bytes) {
        let batch = Batch { exchange: exchange.clone(), body, results: BytesMut::new(), given_up: Vec::new() };
        self.go_on_with_batch(key, Box::new(batch));
    }

    fn go_on_with_batch(&mut self, key: SubscriberKey, mut batch: Box<Batch>) {
        while let Some(line) = batch.next_line() {
            let Publish { channel, draft, idempotency_key, id } = match native::decode_publish(&line, &self.shared.native_limits) {
                Ok(publish) => publish,
                Err(fault) => {
                    self.metrics.fault(fault.kind.code());
                    native::write_fault(&fault, &mut batch.results);
                    batch.results.put_u8(b'\n');
                    continue;
                }
            };
            if let Err(TooFast { wait_ms }) = self.charge(key, line.len()) {
                self.metrics.fault(TooFast::CODE);
                native::write_too_fast(id.as_ref(), TooFast::CODE, wait_ms, &mut batch.results);
                batch.results.put_u8(b'\n');
                continue;
            }
            if batch.given_up.contains(&channel) {
                self.count_refusal(Err(PublishFault::Held));
                batch.result(id.as_ref(), Err(PublishFault::Held));
                continue;
            }
            let idempotency = idempotency_key.map(|key| IdempotencyKey::anonymous(&key));
            let then = Then::Batch { id, batch };
            let pending = Pending { kind: TransportKind::Http, channel, draft, idempotency, following: Vec::new(), then };
            match self.attempt(pending) {
                Ok((Then::Batch { id, batch: again }, result)) => {
                    batch = again;
                    self.count_refusal(result);
                    batch.result(id.as_ref(), result);
                }
                Ok(_) => return,
                Err(pending) => return self.hold(key, pending),
            }
        }
        let Batch { exchange, results, .. } = *batch;
        let response = Response::new(200).header("cache-control", "no-store");
        self.answer(key, &exchange, response.body("application/x-ndjson", results.freeze()));
    }

    /// Does what follows on a publication, or on its refusal.
    pub(crate) fn conclude(&mut self, key: SubscriberKey, then: Then, result: Result<Position, PublishFault>, replies: &mut BytesMut) {
        match then {
            Then::Answer(exchange) => match result {
                Ok(position) => {
                    let position = position.to_string();
                    let body = format!("{{\"position\":\"{position}\"}}\n");
                    let response = Response::new(201).header("bongsu-cursor", &position).header("cache-control", "no-store");
                    self.answer(key, &exchange, response.body("application/json", body));
                }
                Err(fault) => self.refuse(key, &exchange, publish_problem(fault)),
            },
            Then::Batch { id, mut batch } => {
                self.count_refusal(result);
                batch.result(id.as_ref(), result);
                self.go_on_with_batch(key, batch);
            }
            Then::Reply { id, encoding } => {
                self.count_refusal(result);
                self.say(encoding, replies, |out| write_result(id.as_ref(), result, out));
            }
            Then::Stomp(commit) => self.go_on_with_commit(key, commit, result),
            Then::Nothing => {
                self.count_refusal(result);
                if let Err(fault) = result {
                    self.disconnect(key, &refusal_of_payload(fault));
                }
            }
        }
    }

    /// Orders a publication. One that would have to wait is refused.
    pub(crate) fn publish(
        &mut self,
        kind: TransportKind,
        channel: &ChannelName,
        draft: Draft,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Position, PublishFault> {
        let result = self.engine().publish(channel, draft, idempotency);
        self.metrics.publications(kind, result.map_or(0, |_| 1));
        self.count_refusal(result);
        result
    }

    /// Counts a refusal that no other words would count: an answer over HTTP and an ERROR of STOMP are counted where they are said.
    fn count_refusal(&self, result: Result<Position, PublishFault>) {
        if let Err(fault) = result {
            self.metrics.fault(publish_problem(fault).code);
        }
    }
}

/// Writes a result in the native form.
fn write_result(id: Option<&native::Id>, result: Result<Position, PublishFault>, out: &mut BytesMut) {
    match result {
        Ok(position) => native::write_published(id, position, out),
        Err(fault) => native::write_error(id, publish_problem(fault).code, &fault.to_string(), out),
    }
}

/// A plain payload has no answer: who published one that is not taken is told by the close of its connection.
fn refusal_of_payload(fault: PublishFault) -> Disconnect {
    match fault {
        PublishFault::GoingAway => Disconnect::Shutdown,
        PublishFault::Held => Disconnect::Held,
        PublishFault::TooManyChannels { .. } | PublishFault::Reserved => {
            Disconnect::ProtocolFault { code: close::POLICY, reason: fault.to_string() }
        }
    }
}

/// How a refusal by the engine is told.
pub(crate) fn publish_problem(fault: PublishFault) -> Problem {
    match fault {
        PublishFault::TooManyChannels { .. } => Problem::new(503, "too-many-channels", fault).with("retry-after", 5),
        PublishFault::Held => Problem::new(503, "channel-held", fault).with("retry-after", 1),
        PublishFault::GoingAway => Problem::new(503, "going-away", fault).with("retry-after", 1),
        PublishFault::Reserved => Problem::new(403, "reserved-channel", fault),
    }
}

fn draft_of(request: &Request, body: Bytes) -> Result<(Draft, Option<IdempotencyKey>), Problem> {
    let content_type = match request.header("content-type") {
        Some(text) if text.len() > CONTENT_TYPE_BYTES_MAX => {
            return Err(Problem::new(400, "content-type-too-long", format!("Content-Type may have {CONTENT_TYPE_BYTES_MAX} bytes")));
        }
        Some(text) if !text.trim().is_empty() => ContentType::parse(text),
        _ if std::str::from_utf8(&body).is_ok() => ContentType::Text,
        _ => ContentType::Octets,
    };
    if content_type == ContentType::Json {
        check_json(&body, JSON_DEPTH_MAX).map_err(|fault| Problem::new(400, fault.code(), fault))?;
    }
    let key = request.header("bongsu-key").map(|key| bounded("Bongsu-Key", key)).transpose()?;
    let idempotency = request.header("idempotency-key").map(|key| bounded("Idempotency-Key", key)).transpose()?;
    let draft = Draft { data: body, content_type, key: key.map(Into::into), headers: Box::default() };
    Ok((draft, idempotency.map(IdempotencyKey::anonymous)))
}

fn bounded<'a>(name: &str, key: &'a str) -> Result<&'a str, Problem> {
    if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(key);
    }
    Err(Problem::new(400, "invalid-key", format!("{name} must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes")))
}

const CONTENT_TYPE_BYTES_MAX: usize = 255;
