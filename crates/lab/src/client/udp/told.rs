//! One object that a server said over UDP, as far as the exchange needs it; publications and gaps are read as everywhere.

use std::borrow::Cow;

use bongsu_core::{ChannelName, Cursor};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::client::fault::ClientFault;
use crate::client::record::unreadable;

/// What an object has. What is not named here is passed over: servers grow.
#[derive(Debug, Default)]
pub struct Told<'a> {
    pub(super) cookie: Option<Cow<'a, str>>,
    pub(super) id: Option<u64>,
    pub(super) channel: Option<Cow<'a, str>>,
    /// The answer to a subscribe.
    pub(super) cursor: Option<Cursor>,
    /// Everything up to here was sent, by a head, an answer, or a repair.
    pub(super) head: Option<Cursor>,
    pub(super) ended: Option<Cursor>,
    pub(super) lease_ms: Option<u64>,
    pub(super) datagram_bytes_max: Option<usize>,
    pub(super) position: Option<Cursor>,
    /// How long a publication is that did not fit.
    pub(super) length: Option<u64>,
    pub(super) has_data: bool,
    pub(super) is_gap: bool,
    pub(super) is_bye: bool,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Form<'a> {
    #[serde(borrow)]
    cookie: Option<Cow<'a, str>>,
    id: Option<serde_json::Value>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    cursor: Option<String>,
    head: Option<String>,
    repaired: Option<String>,
    ended: Option<String>,
    lease_ms: Option<u64>,
    datagram_bytes_max: Option<usize>,
    position: Option<String>,
    length: Option<u64>,
    #[serde(deserialize_with = "present")]
    data: bool,
    gap: Option<IgnoredAny>,
    bye: Option<IgnoredAny>,
    error: Option<ErrorForm>,
}

#[derive(Deserialize)]
struct ErrorForm {
    code: String,
}

impl<'a> Told<'a> {
    /// Reads one object.
    pub fn read(line: &'a [u8]) -> Result<Self, ClientFault> {
        let form: Form<'a> = serde_json::from_slice(line).map_err(|fault| unreadable(line, fault))?;
        let cursor = |text: Option<String>| text.map(|text| Cursor::parse(&text)).transpose();
        Ok(Self {
            cookie: form.cookie,
            id: form.id.and_then(|id| id.as_u64()),
            channel: form.channel,
            cursor: cursor(form.cursor)?,
            head: cursor(form.head.or(form.repaired))?,
            ended: cursor(form.ended)?,
            lease_ms: form.lease_ms,
            datagram_bytes_max: form.datagram_bytes_max,
            position: cursor(form.position)?,
            length: form.length,
            has_data: form.data,
            is_gap: form.gap.is_some(),
            is_bye: form.bye.is_some(),
            error: form.error.map(|error| error.code),
        })
    }

    /// The name of what was refused.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Whether it is about this channel.
    pub fn is_of(&self, channel: &ChannelName) -> bool {
        self.channel.as_deref() == Some(channel.as_str())
    }
}

/// A payload may be the JSON value `null`, which is not the same as none.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}
