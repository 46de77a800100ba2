//! What a subscriber is told, the same whichever transport carried it.

use std::fmt;

use bongsu_core::{ChannelName, ContentType, Cursor};
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::native::with_data;

/// One thing that a server said on a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A channel's subscription stands, and continues after this cursor.
    Started {
        /// The channel.
        channel: ChannelName,
        /// The cursor that a client keeps until its first publication.
        cursor: Cursor,
    },
    /// A publication, in the channel's order.
    Publication(Box<Published>),
    /// Something may have been missed; delivery goes on after `resumed`.
    Gap(Box<GapNotice>),
    /// Everything up to this cursor has been delivered; also a sign of life.
    CaughtUp {
        /// The channel.
        channel: ChannelName,
        /// The last publication's place.
        cursor: Cursor,
    },
    /// The server says goodbye and will close.
    Bye(Bye),
    /// A sign of life without content.
    Heartbeat,
}

/// A publication as a subscriber receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The channel it is in.
    pub channel: ChannelName,
    /// Its place there, which is also the cursor to resume after it.
    pub position: Cursor,
    /// The payload, byte for byte.
    pub data: Bytes,
    /// What the payload is.
    pub content_type: ContentType,
    /// When the server ordered it, in RFC 3339, if it said so.
    pub time: Option<String>,
    /// What it is about.
    pub key: Option<String>,
    /// The publisher's own headers.
    pub headers: Vec<(String, String)>,
}

/// A gap: what lies between `asked` and `resumed` may be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapNotice {
    /// The channel it is in.
    pub channel: ChannelName,
    /// The cursor that could not be continued.
    pub asked: String,
    /// The cursor right before what comes next.
    pub resumed: Cursor,
    /// Why; a word, and not only those known today.
    pub reason: String,
}

/// A goodbye: why the server closes and when to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bye {
    /// The close code, by which programs tell goodbyes apart.
    pub code: u16,
    /// The reason in words.
    pub reason: String,
    /// How long to stay away, if the server said so.
    pub reconnect_ms: Option<u64>,
    /// Whether to come back at all: what was wrong would be wrong again, or not.
    pub come_back: bool,
}

impl Event {
    /// Whether this shows that the transport carries the channel, rather than only that something answers.
    pub fn is_record(&self) -> bool {
        !matches!(self, Self::Heartbeat | Self::Bye(_))
    }

    /// The publication, if it is one.
    pub fn into_publication(self) -> Option<Published> {
        match self {
            Self::Publication(published) => Some(*published),
            _ => None,
        }
    }
}

impl Published {
    /// The payload as text, as far as it is UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// The JSON form of the contract, one line without its end.
    pub fn to_json(&self) -> String {
        let mut form = Map::new();
        form.insert("channel".into(), self.channel.as_str().into());
        form.insert("position".into(), self.position.as_str().into());
        if self.content_type != ContentType::Text {
            form.insert("type".into(), self.content_type.as_str().into());
        }
        if let Some(time) = &self.time {
            form.insert("time".into(), time.as_str().into());
        }
        if let Some(key) = &self.key {
            form.insert("key".into(), key.as_str().into());
        }
        if !self.headers.is_empty() {
            let headers: Map<String, Value> = self.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
            form.insert("headers".into(), headers.into());
        }
        let data = data_form(&self.data, &self.content_type);
        if data.base64 {
            form.insert("base64".into(), true.into());
        }
        with_data(form, &data.text)
    }
}

/// How a payload stands in `data`.
pub(crate) struct DataForm {
    /// The JSON value, as text.
    pub(crate) text: String,
    /// Whether it is a string of base64.
    pub(crate) base64: bool,
}

/// The JSON value itself for JSON, a string for other UTF-8, else base64.
pub(crate) fn data_form(data: &[u8], content_type: &ContentType) -> DataForm {
    use base64::Engine as _;
    match std::str::from_utf8(data) {
        Ok(text) if *content_type == ContentType::Json && is_one_line_of_json(text) => DataForm { text: text.to_owned(), base64: false },
        Ok(text) if *content_type != ContentType::Json => DataForm { text: Value::from(text).to_string(), base64: false },
        _ => DataForm { text: Value::from(base64::engine::general_purpose::STANDARD.encode(data)).to_string(), base64: true },
    }
}

fn is_one_line_of_json(text: &str) -> bool {
    !text.contains(['\n', '\r']) && serde_json::from_str::<&RawValue>(text).is_ok()
}

impl fmt::Display for GapNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, asked, resumed, reason } = self;
        write!(f, "gap in {channel} ({reason}): asked for what follows {asked}, goes on after {resumed}; what lies between may be lost")
    }
}

impl fmt::Display for Bye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server said goodbye: {} (code {})", if self.reason.is_empty() { "no reason given" } else { &self.reason }, self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(data: &'static [u8], content_type: ContentType) -> Published {
        Published {
            channel: ChannelName::parse("a").expect("a name"),
            position: Cursor::parse("e-1").expect("a cursor"),
            data: Bytes::from_static(data),
            content_type,
            time: None,
            key: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn the_json_form_keeps_json_as_it_is_and_quotes_the_rest() {
        let text = published(b"say \"hi\"", ContentType::Text).to_json();
        assert_eq!(text, r#"{"channel":"a","position":"e-1","data":"say \"hi\""}"#);
        let json = published(br#"{"n":1.00}"#, ContentType::Json).to_json();
        assert_eq!(json, r#"{"channel":"a","position":"e-1","type":"application/json","data":{"n":1.00}}"#);
        let bytes = published(b"\xff", ContentType::Octets).to_json();
        assert_eq!(bytes, r#"{"base64":true,"channel":"a","position":"e-1","type":"application/octet-stream","data":"/w=="}"#);
    }
}
