//! What a subscriber's stream consists of, record by record. The hub lays each record once per format on the channel's tape.

pub mod json;
mod multipart;
mod sse;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use memchr::memmem::Finder;

use crate::disconnect::Goodbye;
use crate::name::ChannelName;
use crate::position::{Epoch, Position};
use crate::publication::Publication;
use crate::start::Gap;
use crate::stomp::{FormKey, MessageForm, MessageForms};

/// How the records of a stream are written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Format {
    /// The payload and nothing else: a plain WebSocket's frame.
    Payload,
    /// A JSON object on a line.
    Json,
    /// Server-sent events whose data is the payload.
    Sse,
    /// Server-sent events whose data is the whole JSON form.
    SseJson,
    /// `multipart/mixed`, a part for each record with the publication's own type.
    Multipart,
    /// MESSAGE frames of STOMP, with what the subscription has of its own.
    Stomp(FormKey),
}

impl Format {
    /// A number of its own; that of STOMP is the same for all forms.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Payload => 0,
            Self::Json => 1,
            Self::Sse => 2,
            Self::SseJson => 3,
            Self::Multipart => 4,
            Self::Stomp(_) => 5,
        }
    }
}

/// The formats as this process writes them: all they need beside the record is the boundary between parts.
///
/// Where a method takes `composite`, the connection follows several channels, and that is the cursor which resumes them all;
/// a record's `cursor`, `id` or `Bongsu-Cursor` is then the composite, so that it is always what the client gives back.
#[derive(Debug, Clone)]
pub struct Forms {
    boundary: Arc<str>,
    delimiter: Arc<Finder<'static>>,
    /// The forms of the STOMP subscriptions that are open.
    pub(crate) messages: MessageForms,
}

impl Forms {
    /// The formats with a boundary made of random bits, so that payloads do not hold it by chance.
    pub fn new(random: u128) -> Self {
        let half = |bits| String::from_utf8_lossy(&Epoch::from_bits(bits).to_text()).into_owned();
        let boundary = format!("bongsu-{}{}", half((random >> 64) as u64), half(random as u64));
        let delimiter = Finder::new(format!("--{boundary}").as_bytes()).into_owned();
        Self { boundary: boundary.into(), delimiter: Arc::new(delimiter), messages: MessageForms::default() }
    }

    /// The media type of a stream.
    pub fn content_type(&self, format: Format) -> Cow<'static, str> {
        match format {
            Format::Payload | Format::Stomp(_) => Cow::Borrowed("application/octet-stream"),
            Format::Json => Cow::Borrowed("application/x-ndjson"),
            Format::Sse | Format::SseJson => Cow::Borrowed("text/event-stream"),
            Format::Multipart => Cow::Owned(format!("multipart/mixed; boundary={}", self.boundary)),
        }
    }

    /// What a stream begins with, once, before the first record of any kind. Only multipart needs it.
    pub fn preamble(&self, format: Format, out: &mut BytesMut) {
        if format == Format::Multipart {
            multipart::preamble(self, out);
        }
    }

    /// The first record of a subscription: where it starts. `composite` is told in place of `cursor`; before a gap it is the cursor
    /// asked with, so that whoever is cut off in between is told the gap again.
    pub fn start(&self, format: Format, channel: &ChannelName, cursor: Position, composite: Option<&str>, out: &mut BytesMut) {
        match format {
            // STOMP tells it in the RECEIPT of the SUBSCRIBE.
            Format::Payload | Format::Stomp(_) => (),
            Format::Json => line(out, |out| json::write_cursor(Some(channel), cursor, composite, out)),
            Format::Sse | Format::SseJson => sse::cursor(cursor, composite, out),
            Format::Multipart => multipart::cursor(self, Some(channel), cursor, composite, out),
        }
    }

    /// One publication.
    pub fn publication(
        &self,
        format: Format,
        channel: &ChannelName,
        publication: &Publication,
        composite: Option<&str>,
        out: &mut BytesMut,
    ) {
        match format {
            Format::Payload => out.put_slice(&publication.draft.data),
            Format::Json => line(out, |out| json::json_object(channel, publication, composite, out)),
            Format::Sse => sse::publication(publication, composite, out),
            Format::SseJson => sse::json_publication(channel, publication, composite, out),
            Format::Multipart => multipart::publication(self, channel, publication, composite, out),
            Format::Stomp(form) => self.message_form(form).write_message(channel, publication, out),
        }
    }

    /// A gap; `false` where the format has no room for it and the connection must end instead.
    pub fn gap(&self, format: Format, channel: &ChannelName, gap: &Gap, composite: Option<&str>, out: &mut BytesMut) -> bool {
        match format {
            Format::Payload => return false,
            Format::Json => line(out, |out| json::write_gap_record(channel, gap, composite, out)),
            Format::Sse => sse::gap(channel, gap, composite, out),
            Format::SseJson => sse::json_gap(channel, gap, composite, out),
            Format::Multipart => multipart::gap(self, channel, gap, composite, out),
            Format::Stomp(form) => self.message_form(form).write_gap(channel, gap, out),
        }
        true
    }

    /// A sign of life, which also tells, where there is room, that the subscriber has everything up to the cursor.
    pub fn heartbeat(&self, format: Format, channel: &ChannelName, cursor: Position, composite: Option<&str>, out: &mut BytesMut) {
        let channel = composite.is_none().then_some(channel);
        match format {
            // STOMP's heart-beats are the session's.
            Format::Payload | Format::Stomp(_) => (),
            Format::Json => line(out, |out| json::write_cursor(channel, cursor, composite, out)),
            Format::Sse | Format::SseJson => out.put_slice(b":\n\n"),
            Format::Multipart => multipart::cursor(self, channel, cursor, composite, out),
        }
    }

    /// The last record: why the server ends the stream, and in how many milliseconds the client may come back.
    pub fn goodbye(&self, format: Format, goodbye: &Goodbye, reconnect_ms: u64, out: &mut BytesMut) {
        match format {
            // STOMP's ERROR is the session's.
            Format::Payload | Format::Stomp(_) => (),
            Format::Json => line(out, |out| json::write_goodbye_record(goodbye, reconnect_ms, out)),
            Format::Sse | Format::SseJson => sse::goodbye(goodbye, reconnect_ms, out),
            Format::Multipart => multipart::goodbye(self, goodbye, reconnect_ms, out),
        }
    }

    /// Whether a format's subscribers answer for what they get, and have a window.
    pub fn is_windowed(&self, format: Format) -> bool {
        matches!(format, Format::Stomp(form) if self.message_form(form).is_acknowledged())
    }

    fn message_form(&self, form: FormKey) -> &MessageForm {
        self.messages.get(form).expect("a form is held while an encoding names it")
    }
}

fn line(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    write(out);
    out.put_u8(b'\n');
}

#[cfg(test)]
mod tests;
