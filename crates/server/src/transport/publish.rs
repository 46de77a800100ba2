//! Publishing over HTTP: one publication as a body, or a batch of lines.

use bongsu_core::directory::PublishFault;
use bongsu_core::hub::SubscriberKey;
use bongsu_core::idempotency::{IDEMPOTENCY_KEY_BYTES_MAX, IdempotencyKey};
use bongsu_core::json::{JSON_DEPTH_MAX, check_json};
use bongsu_core::native::{self, Publish};
use bongsu_core::{ChannelName, ContentType, Draft, Position};
use bytes::{BufMut, Bytes, BytesMut};

use super::http::Exchange;
use crate::http::{Problem, Request, Response};
use crate::metrics::TransportKind;
use crate::pacing::TooFast;
use crate::worker::Worker;

impl Worker {
    /// `POST /channels/{name}`: publishes the body as it is.
    pub(crate) fn publish_body(&mut self, key: SubscriberKey, exchange: &Exchange, request: &Request, channel: &ChannelName, body: Bytes) {
        let published = self
            .charge(key, body.len())
            .map_err(TooFast::problem)
            .and_then(|()| draft_of(request, body))
            .and_then(|(draft, idempotency)| self.publish(TransportKind::Http, channel, draft, idempotency).map_err(publish_problem));
        match published {
            Ok(position) => {
                let position = position.to_string();
                let body = format!("{{\"position\":\"{position}\"}}\n");
                let response = Response::new(201).header("bongsu-cursor", &position).header("cache-control", "no-store");
                self.answer(key, exchange, response.body("application/json", body));
            }
            Err(problem) => self.refuse(key, exchange, problem),
        }
    }

    /// `POST /publish`: a native publish a line, a result a line, in order. A line that is refused does not stop those after it.
    pub(crate) fn publish_batch(&mut self, key: SubscriberKey, exchange: &Exchange, body: &Bytes) {
        let mut results = BytesMut::new();
        for line in body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
            match native::decode_publish(line, &self.shared.native_limits) {
                Ok(publish) => match self.charge(key, line.len()) {
                    Ok(()) => self.publish_native(TransportKind::Http, publish, &mut results),
                    Err(TooFast { wait_ms }) => {
                        self.metrics.fault(TooFast::CODE);
                        native::write_too_fast(publish.id.as_ref(), TooFast::CODE, wait_ms, &mut results);
                    }
                },
                Err(fault) => {
                    self.metrics.fault(fault.kind.code());
                    native::write_fault(&fault, &mut results);
                }
            }
            results.put_u8(b'\n');
        }
        let response = Response::new(200).header("cache-control", "no-store");
        self.answer(key, exchange, response.body("application/x-ndjson", results.freeze()));
    }

    /// Publishes what came in the native form and writes its answer.
    pub(crate) fn publish_native(&mut self, kind: TransportKind, publish: Publish, out: &mut BytesMut) {
        let Publish { channel, draft, idempotency_key, id } = publish;
        let idempotency = idempotency_key.map(|key| IdempotencyKey::anonymous(&key));
        match self.publish(kind, &channel, draft, idempotency) {
            Ok(position) => native::write_published(id.as_ref(), position, out),
            Err(fault) => native::write_error(id.as_ref(), publish_problem(fault).code, &fault.to_string(), out),
        }
    }

    /// Orders a publication.
    pub(crate) fn publish(
        &mut self,
        kind: TransportKind,
        channel: &ChannelName,
        draft: Draft,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Position, PublishFault> {
        let published = self.engine().publish(channel, draft, idempotency);
        match &published {
            Ok(_) => self.metrics.publications(kind, 1),
            Err(fault) => self.metrics.fault(publish_problem(*fault).code),
        }
        published
    }
}

/// How a refusal by the engine is told.
pub(crate) fn publish_problem(fault: PublishFault) -> Problem {
    match fault {
        PublishFault::TooManyChannels { .. } => Problem::new(503, "too-many-channels", fault).with("retry-after", 5),
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
