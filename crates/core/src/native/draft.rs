//! What a native publish carries: `data` with its type, key and headers.
//!
//! `data` that is a string is text; with `"base64":true` it is the bytes so written; any other value is JSON. `type` says more: with
//! `application/json`, `data` is the JSON value itself, so a string stays a JSON string, quotes and all.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::NativeLimits;
use super::fault::NativeFaultKind;
use super::members::{Field, Members, read_text};
use crate::json::{check_json, check_readable};
use crate::publication::{ContentType, Draft, Headers};

impl Members<'_> {
    pub(super) fn draft(&self, limits: &NativeLimits) -> Result<Draft, NativeFaultKind> {
        let (data, content_type) = self.payload(limits)?;
        if data.len() > limits.payload_bytes_max {
            return Err(NativeFaultKind::PayloadTooLarge { len: data.len(), max: limits.payload_bytes_max });
        }
        let key = self.short_text(Field::Key, limits)?.map(|key| key.as_ref().into());
        Ok(Draft { data, content_type, key, headers: self.headers(limits)? })
    }

    pub(super) fn idempotency_key(&self, limits: &NativeLimits) -> Result<Option<Box<str>>, NativeFaultKind> {
        Ok(self.short_text(Field::IdempotencyKey, limits)?.map(Box::from))
    }

    fn payload(&self, limits: &NativeLimits) -> Result<(Bytes, ContentType), NativeFaultKind> {
        let raw = self.raw(Field::Data).ok_or(NativeFaultKind::MissingData)?;
        let given = self.content_type()?;
        if self.flag(Field::Base64, || NativeFaultKind::InvalidData { reason: "base64 is true or false" })? {
            return from_base64(raw, given.unwrap_or(ContentType::Octets), limits);
        }
        match (given, read_text(raw)) {
            (Some(ContentType::Json), _) => json_value(raw).map(|data| (data, ContentType::Json)),
            (given, Some(text)) => Ok((to_bytes(text), given.unwrap_or_default())),
            (_, None) if raw.get().starts_with('"') => {
                Err(NativeFaultKind::InvalidData { reason: "the string holds half a surrogate pair" })
            }
            (None, None) => json_value(raw).map(|data| (data, ContentType::Json)),
            (Some(given), None) if is_json_suffixed(&given) => json_value(raw).map(|data| (data, given)),
            (Some(_), None) => {
                Err(NativeFaultKind::InvalidData { reason: "data of this type is a string; leave type out for JSON values" })
            }
        }
    }

    fn content_type(&self) -> Result<Option<ContentType>, NativeFaultKind> {
        let Some(text) = self.text(Field::Type, || NativeFaultKind::InvalidType)? else { return Ok(None) };
        ContentType::is_well_formed(&text).then(|| Some(ContentType::parse(&text))).ok_or(NativeFaultKind::InvalidType)
    }

    /// A text of 1 to `key_bytes_max` bytes.
    fn short_text(&self, field: Field, limits: &NativeLimits) -> Result<Option<Cow<'_, str>>, NativeFaultKind> {
        let fault = || NativeFaultKind::InvalidKey { field: field.name(), max: limits.key_bytes_max };
        let text = self.text(field, fault)?;
        match text {
            Some(text) if text.is_empty() || text.len() > limits.key_bytes_max => Err(fault()),
            text => Ok(text),
        }
    }

    fn headers(&self, limits: &NativeLimits) -> Result<Headers, NativeFaultKind> {
        let Some(raw) = self.get(Field::Headers) else { return Ok(Headers::default()) };
        let HeaderList(headers) = serde_json::from_str(raw.get()).map_err(|_| NativeFaultKind::InvalidHeaders)?;
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if headers.len() > limits.headers_max || bytes > limits.header_bytes_max {
            return Err(NativeFaultKind::HeadersTooLarge { max: limits.headers_max, bytes_max: limits.header_bytes_max });
        }
        let repeated = headers.iter().enumerate().any(|(index, (name, _))| headers[..index].iter().any(|(before, _)| before == name));
        if repeated || headers.iter().any(|(name, _)| name.is_empty()) {
            return Err(NativeFaultKind::InvalidHeaders);
        }
        Ok(headers.into())
    }
}

fn from_base64(raw: &RawValue, content_type: ContentType, limits: &NativeLimits) -> Result<(Bytes, ContentType), NativeFaultKind> {
    let text = read_text(raw).ok_or(NativeFaultKind::InvalidData { reason: "with base64, data is a string" })?;
    let data = LENIENT
        .decode(text.as_bytes())
        .map_err(|_| NativeFaultKind::InvalidData { reason: "data is not base64 of the standard alphabet" })?;
    if content_type == ContentType::Json {
        check_json(&data, limits.depth_max)?;
    }
    Ok((data.into(), content_type))
}

fn json_value(raw: &RawValue) -> Result<Bytes, NativeFaultKind> {
    check_readable(raw.get())?;
    Ok(Bytes::copy_from_slice(raw.get().as_bytes()))
}

fn to_bytes(text: Cow<'_, str>) -> Bytes {
    match text {
        Cow::Borrowed(text) => Bytes::copy_from_slice(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}

fn is_json_suffixed(content_type: &ContentType) -> bool {
    content_type.as_str().split(';').next().is_some_and(|essence| essence.trim().to_ascii_lowercase().ends_with("+json"))
}

/// Padding may be left out, since many encoders do.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Headers in the order given.
struct HeaderList(Vec<(Box<str>, Box<str>)>);

impl<'de> Deserialize<'de> for HeaderList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor).map(Self)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Vec<(Box<str>, Box<str>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut headers = Vec::new();
        while let Some(header) = map.next_entry()? {
            headers.push(header);
        }
        Ok(headers)
    }
}
