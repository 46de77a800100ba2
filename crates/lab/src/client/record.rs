//! The JSON forms of the contract, read: a line of a stream, a frame of the native protocol, a publication in a page.

use std::borrow::Cow;

use base64::Engine as _;
use bongsu_core::{ChannelName, ContentType, Cursor};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::event::{Bye, Event, GapNotice, Published};
use super::fault::ClientFault;
use super::subject::Subject;

/// What one JSON object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Something for the subscriber.
    Event(Event),
    /// Where channels are: a subscription's first record, or that everything up to here was delivered.
    Cursors(Vec<(ChannelName, Cursor)>),
    /// A publish was done, and this is its position.
    Done {
        /// The id the client gave.
        id: Option<u64>,
        /// The position, where something was published.
        position: Option<Cursor>,
    },
    /// Something was refused.
    Error {
        /// The id the client gave.
        id: Option<u64>,
        /// The fault's name.
        code: String,
        /// What to do about it.
        message: String,
    },
}

/// Every field that an object of the contract may have. What it does not name is passed over: servers grow.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Form<'a> {
    id: Option<Value>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    cursor: Option<Cow<'a, str>>,
    #[serde(borrow)]
    position: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    base64: bool,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    headers: Option<Value>,
    #[serde(borrow)]
    gap: Option<GapForm<'a>>,
    bye: Option<ByeForm>,
    error: Option<ErrorForm>,
}

impl Record {
    /// What the subscriber is told. A refusal is a fault.
    pub(crate) fn into_events(self) -> Result<Vec<Event>, ClientFault> {
        match self {
            Self::Event(event) => Ok(vec![event]),
            Self::Cursors(cursors) => Ok(cursors.into_iter().map(|(channel, cursor)| Event::Started { channel, cursor }).collect()),
            Self::Done { .. } => Ok(vec![Event::Heartbeat]),
            Self::Error { code, message, .. } => Err(ClientFault::Told { code, message }),
        }
    }
}

/// A gap object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GapForm<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    asked: Cow<'a, str>,
    #[serde(borrow)]
    resumed: Cow<'a, str>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    /// In a page of several channels, the gap itself stands beside its channel.
    #[serde(borrow)]
    gap: Option<Box<GapForm<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ByeForm {
    code: u16,
    reason: String,
    reconnect_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorForm {
    code: String,
    message: String,
}

/// Reads one JSON object. A subject is what an HTTP subscription is about: it knows what a record leaves out, and its cursors.
pub fn read(text: &[u8], subject: Option<&Subject>) -> Result<Record, ClientFault> {
    // Serde would take an array's elements for the fields.
    if !text.trim_ascii_start().starts_with(b"{") {
        return Err(unreadable(text, "no JSON object"));
    }
    let form: Form<'_> = serde_json::from_slice(text).map_err(|fault| unreadable(text, fault))?;
    form.into_record(subject)
}

/// Reads a gap object by itself, as a plain WebSocket's close frame 4009 gives it for a reason.
pub fn read_gap(text: &str, channel: &ChannelName) -> Result<GapNotice, ClientFault> {
    let form: GapForm<'_> = serde_json::from_str(text).map_err(|fault| unreadable(text.as_bytes(), fault))?;
    form.into_notice(Some(channel))
}

impl Form<'_> {
    fn into_record(mut self, subject: Option<&Subject>) -> Result<Record, ClientFault> {
        let only = subject.and_then(Subject::only);
        let id = self.id.as_ref().and_then(Value::as_u64);
        if let Some(ErrorForm { code, message }) = self.error {
            return Ok(Record::Error { id, code, message });
        }
        if let Some(ByeForm { code, reason, reconnect_ms }) = self.bye {
            return Ok(Record::Event(Event::Bye(Bye { code, reason, reconnect_ms, come_back: reconnect_ms.is_some() })));
        }
        if let Some(gap) = self.gap.take() {
            let only = self.channel.as_deref().map(ChannelName::parse).transpose()?.or_else(|| only.cloned());
            return gap.into_notice(only.as_ref()).map(|gap| Record::Event(Event::Gap(Box::new(gap))));
        }
        match (&self.cursor, &self.position, self.data.is_some()) {
            (_, Some(_), true) => self.into_publication(only).map(|published| Record::Event(Event::Publication(Box::new(published)))),
            (_, Some(position), false) => Ok(Record::Done { id, position: Some(Cursor::parse(position)?) }),
            (Some(cursor), None, _) => self.read_cursor(cursor, subject).map(Record::Cursors),
            (None, None, _) if id.is_some() => Ok(Record::Done { id, position: None }),
            _ => Ok(Record::Event(Event::Heartbeat)),
        }
    }

    fn read_cursor(&self, cursor: &str, subject: Option<&Subject>) -> Result<Vec<(ChannelName, Cursor)>, ClientFault> {
        let named = self.channel.as_deref().map(ChannelName::parse).transpose()?;
        match (named, subject) {
            (Some(channel), Some(subject)) => Ok(vec![(channel.clone(), subject.cursor_of(&channel, cursor)?)]),
            (Some(channel), None) => Ok(vec![(channel, Cursor::parse(cursor)?)]),
            (None, Some(subject)) => subject.cursors(cursor),
            (None, None) => Err(ClientFault::contract("a cursor that does not say its channel")),
        }
    }

    /// Reads it as a publication, as it stands in a page.
    pub(crate) fn into_publication(self, only: Option<&ChannelName>) -> Result<Published, ClientFault> {
        let content_type = self.kind.as_deref().map(ContentType::parse).unwrap_or_default();
        let position = self.position.ok_or_else(|| ClientFault::contract("a publication without a position"))?;
        let data = self.data.ok_or_else(|| ClientFault::contract("a publication without data"))?;
        Ok(Published {
            channel: channel_of(self.channel.as_deref(), only)?,
            position: Cursor::parse(&position)?,
            data: read_data(data, self.base64, &content_type)?,
            content_type,
            time: self.time.map(Cow::into_owned),
            key: self.key.map(Cow::into_owned),
            headers: read_headers(self.headers),
        })
    }
}

impl GapForm<'_> {
    /// Reads it as a gap.
    pub(crate) fn into_notice(self, only: Option<&ChannelName>) -> Result<GapNotice, ClientFault> {
        let channel = channel_of(self.channel.as_deref(), only)?;
        let (asked, resumed, reason) = match self.gap {
            Some(gap) => (gap.asked, gap.resumed, gap.reason),
            None => (self.asked, self.resumed, self.reason),
        };
        Ok(GapNotice { channel, asked: asked.into_owned(), resumed: Cursor::parse(&resumed)?, reason: reason.into_owned() })
    }
}

/// A payload may be the JSON value `null`, which is not the same as none.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn channel_of(named: Option<&str>, only: Option<&ChannelName>) -> Result<ChannelName, ClientFault> {
    match (named, only) {
        (Some(named), _) => Ok(ChannelName::parse(named)?),
        (None, Some(only)) => Ok(only.clone()),
        (None, None) => Err(ClientFault::contract("a record that does not say its channel")),
    }
}

fn read_data(data: &RawValue, base64: bool, content_type: &ContentType) -> Result<Bytes, ClientFault> {
    if *content_type == ContentType::Json && !base64 {
        return Ok(Bytes::copy_from_slice(data.get().as_bytes()));
    }
    let text: String = serde_json::from_str(data.get()).map_err(|_| ClientFault::contract("data that should be a string and is not"))?;
    if !base64 {
        return Ok(Bytes::from(text));
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| ClientFault::contract("data that is not base64"))?;
    Ok(Bytes::from(bytes))
}

/// Headers come as an object, or, where names repeat, as pairs.
fn read_headers(headers: Option<Value>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match headers {
        Some(Value::Object(map)) => map.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        Some(Value::Array(pairs)) => pairs.iter().filter_map(|pair| Some((text(pair.get(0)?), text(pair.get(1)?)))).collect(),
        _ => Vec::new(),
    }
}

pub(crate) fn unreadable(text: &[u8], fault: impl std::fmt::Display) -> ClientFault {
    let text = String::from_utf8_lossy(text);
    let start: String = text.chars().take(120).collect();
    ClientFault::Contract(format!("{start:?} ({fault})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::target::Target;
    use bongsu_core::Start;

    fn only() -> Subject {
        let target = Target::parse("http://a").expect("an address");
        Subject::one(&target, &ChannelName::parse("a").expect("a name"), &Start::Live)
    }

    fn event(text: &str) -> Event {
        let events = read(text.as_bytes(), Some(&only())).expect(text).into_events().expect(text);
        let [event] = events.try_into().expect("one event");
        event
    }

    fn data(text: &str) -> Vec<u8> {
        event(text).into_publication().expect("a publication").data.to_vec()
    }

    #[test]
    fn data_is_text_json_or_base64() {
        assert_eq!(data(r#"{"channel":"a","position":"e-1","data":"h\u00e9"}"#), "hé".as_bytes());
        assert_eq!(data(r#"{"channel":"a","position":"e-1","data":{"n":1.0},"type":"application/json"}"#), br#"{"n":1.0}"#);
        assert_eq!(data(r#"{"channel":"a","position":"e-1","data":"s","type":"application/json"}"#), br#""s""#);
        assert_eq!(data(r#"{"channel":"a","position":"e-1","data":null,"type":"application/json"}"#), b"null");
        assert_eq!(data(r#"{"channel":"a","position":"e-1","data":"/w==","base64":true,"type":"image/png"}"#), b"\xff");
    }

    #[test]
    fn what_is_set_beside_the_data_is_kept() {
        let line =
            r#"{"channel":"a","position":"e-1","data":"x","time":"2026-11-20T18:00:00.123Z","key":"k","headers":{"n":"v"},"later":[1]}"#;
        let published = event(line).into_publication().expect("a publication");
        assert_eq!((published.time.as_deref(), published.key.as_deref()), (Some("2026-11-20T18:00:00.123Z"), Some("k")));
        assert_eq!(published.headers, [("n".to_owned(), "v".to_owned())]);
    }

    #[test]
    fn a_gap_of_a_reason_not_known_yet_is_a_gap() {
        let Event::Gap(gap) = event(r#"{"channel":"a","gap":{"asked":"e-1","resumed":"e-9","reason":"eclipse"}}"#) else {
            panic!("no gap")
        };
        assert_eq!((gap.asked.as_str(), gap.resumed.as_str(), gap.reason.as_str()), ("e-1", "e-9", "eclipse"));
    }

    #[test]
    fn tells_the_other_records_apart() {
        assert!(matches!(event(r#"{"id":1,"channel":"a","cursor":"e-0"}"#), Event::Started { .. }));
        assert!(matches!(event(r#"{"pong":1}"#), Event::Heartbeat));
        assert_eq!(
            event(r#"{"bye":{"code":4008,"reason":"slow","reconnect_ms":9}}"#),
            Event::Bye(Bye { code: 4008, reason: "slow".into(), reconnect_ms: Some(9), come_back: true })
        );
        let done = read(br#"{"id":2,"position":"e-5"}"#, None).expect("an answer");
        assert_eq!(done, Record::Done { id: Some(2), position: Some(Cursor::parse("e-5").expect("a cursor")) });
        assert!(matches!(
            read(br#"{"id":3,"error":{"code":"c","message":"m"}}"#, None).expect("an error"),
            Record::Error { id: Some(3), .. }
        ));
    }

    #[test]
    fn what_is_no_record_is_a_fault() {
        for text in [
            "",
            "x",
            "[]",
            r#"{"position":"e-1","data":"x"}"#,
            r#"{"channel":"a","position":"e_1","data":"x"}"#,
            r#"{"channel":"a","position":"e-1","data":5}"#,
        ] {
            assert!(read(text.as_bytes(), None).is_err(), "{text}");
        }
    }
}
