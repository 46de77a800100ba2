//! SEND as a publish.

use super::destination::Destination;
use super::fault::StompFault;
use super::session::StompPublish;
use super::{Frame, StompLimits};
use crate::json::check_json;
use crate::publication::{ContentType, Draft};

impl StompPublish {
    /// Reads what a SEND publishes. Headers that the protocol does not know are the publication's own.
    pub(super) fn read(frame: &Frame, limits: &StompLimits) -> Result<Self, StompFault> {
        let Destination { channel, .. } = Destination::parse(frame.require("destination")?)?;
        // Refused here, so that a transaction is not refused for it once a part of it is published.
        if channel.is_reserved() {
            return Err(StompFault::ReservedChannel);
        }
        let content_type = read_content_type(frame)?;
        if content_type == ContentType::Json {
            check_json(&frame.body, limits.depth_max).map_err(|fault| StompFault::InvalidJson { reason: fault.to_string() })?;
        }
        let key = short("key", frame, limits)?.map(Into::into);
        let idempotency_key = short("idempotency-key", frame, limits)?.map(Into::into);
        let headers = frame.headers.iter().filter(|(name, _)| !is_known(name)).cloned().collect();
        Ok(Self { channel, draft: Draft { data: frame.body.clone(), content_type, key, headers }, idempotency_key })
    }
}

// STOMP 1.2, "content-type": without one the body is a binary blob. What is UTF-8 all the same is most useful as text.
fn read_content_type(frame: &Frame) -> Result<ContentType, StompFault> {
    match frame.get("content-type") {
        Some(text) if ContentType::is_well_formed(text) => Ok(ContentType::parse(text)),
        Some(_) => Err(StompFault::InvalidContentType),
        None if std::str::from_utf8(&frame.body).is_ok() => Ok(ContentType::Text),
        None => Ok(ContentType::Octets),
    }
}

fn short<'a>(name: &'static str, frame: &'a Frame, limits: &StompLimits) -> Result<Option<&'a str>, StompFault> {
    match frame.get(name) {
        Some("") => Err(StompFault::EmptyHeader { name }),
        Some(text) if text.len() > limits.id_bytes_max => Err(StompFault::IdTooLong { name, max: limits.id_bytes_max }),
        text => Ok(text),
    }
}

fn is_known(name: &str) -> bool {
    ["destination", "content-type", "content-length", "receipt", "transaction", "key", "idempotency-key"].contains(&name)
}
