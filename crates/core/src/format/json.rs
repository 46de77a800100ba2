//! Records as JSON objects, without a line end: lines, native frames, pages and the data of events are made of them.

use bytes::{BufMut, BytesMut};

use crate::disconnect::Goodbye;
use crate::json::{base64_len, string_len, write_base64, write_on_one_line, write_string};
use crate::name::ChannelName;
use crate::position::Position;
use crate::publication::{ContentType, Headers, Publication};
use crate::start::Gap;
use crate::timestamp::{TIMESTAMP_LEN, timestamp};

/// A publication: `{"channel":…,"position":…,"data":…}` with `base64`, `type`, `time`, `key`, `headers` and `cursor` where there are such.
pub fn json_object(channel: &ChannelName, publication: &Publication, composite: Option<&str>, out: &mut BytesMut) {
    let draft = &publication.draft;
    out.reserve(draft.data.len() + channel.as_str().len() + 160);
    out.put_slice(b"{\"channel\":");
    write_string(channel.as_str(), out);
    out.put_slice(b",\"position\":\"");
    publication.position.write_to(out);
    out.put_slice(b"\",\"data\":");
    write_data(&draft.content_type, &draft.data, out);
    if draft.content_type != ContentType::Text {
        out.put_slice(b",\"type\":");
        write_string(draft.content_type.as_str(), out);
    }
    out.put_slice(b",\"time\":\"");
    out.put_slice(&timestamp(publication.time_ms));
    out.put_u8(b'"');
    if let Some(key) = &draft.key {
        out.put_slice(b",\"key\":");
        write_string(key, out);
    }
    if !draft.headers.is_empty() {
        write_headers(&draft.headers, out);
    }
    // Last, so that a composite can be added to a record that was laid for everyone.
    if let Some(composite) = composite {
        out.put_slice(b",\"cursor\":");
        write_string(composite, out);
    }
    out.put_u8(b'}');
}

/// How long a publication is as `json_object` writes it, without a composite, found without writing it.
pub fn json_object_len(channel: &ChannelName, publication: &Publication) -> usize {
    let draft = &publication.draft;
    let mut len = r#"{"channel":,"position":"","data":,"time":""}"#.len() + TIMESTAMP_LEN;
    len += string_len(channel.as_str()) + position_len(publication.position) + data_len(&draft.content_type, &draft.data);
    if draft.content_type != ContentType::Text {
        len += r#","type":"#.len() + string_len(draft.content_type.as_str());
    }
    if let Some(key) = &draft.key {
        len += r#","key":"#.len() + string_len(key);
    }
    if !draft.headers.is_empty() {
        // A comma before each but the first, a colon within each.
        len += r#","headers":{}"#.len() - 1;
        len += draft.headers.iter().map(|(name, value)| string_len(name) + string_len(value) + 2).sum::<usize>();
    }
    len
}

fn position_len(position: Position) -> usize {
    let digits = position.offset.checked_ilog10().unwrap_or(0) + 1;
    position.epoch.to_text().len() + 1 + digits as usize
}

fn data_len(content_type: &ContentType, data: &[u8]) -> usize {
    if *content_type == ContentType::Json {
        // On one line it is as long as on several.
        return data.len();
    }
    match std::str::from_utf8(data) {
        Ok(text) => string_len(text),
        Err(_) => base64_len(data.len()) + r#""","base64":true"#.len(),
    }
}

/// Where a subscriber stands: `{"channel":…,"cursor":…}`.
pub fn write_cursor(channel: Option<&ChannelName>, cursor: Position, composite: Option<&str>, out: &mut BytesMut) {
    out.put_u8(b'{');
    if let Some(channel) = channel {
        out.put_slice(b"\"channel\":");
        write_string(channel.as_str(), out);
        out.put_u8(b',');
    }
    out.put_slice(b"\"cursor\":");
    match composite {
        Some(composite) => write_string(composite, out),
        None => write_position(cursor, out),
    }
    out.put_u8(b'}');
}

/// A gap as a record: `{"channel":…,"gap":{…}}`.
pub fn write_gap_record(channel: &ChannelName, gap: &Gap, composite: Option<&str>, out: &mut BytesMut) {
    out.put_slice(b"{\"channel\":");
    write_string(channel.as_str(), out);
    out.put_slice(b",\"gap\":");
    write_gap(None, gap, out);
    if let Some(composite) = composite {
        out.put_slice(b",\"cursor\":");
        write_string(composite, out);
    }
    out.put_u8(b'}');
}

/// The gap itself: `{"asked":…,"resumed":…,"reason":…}`, with its channel where nothing else tells it.
pub fn write_gap(channel: Option<&ChannelName>, gap: &Gap, out: &mut BytesMut) {
    out.put_u8(b'{');
    if let Some(channel) = channel {
        out.put_slice(b"\"channel\":");
        write_string(channel.as_str(), out);
        out.put_u8(b',');
    }
    out.put_slice(b"\"asked\":");
    write_string(gap.asked.as_str(), out);
    out.put_slice(b",\"resumed\":");
    write_position(gap.resumed, out);
    out.put_slice(b",\"reason\":");
    write_string(gap.reason.as_str(), out);
    out.put_u8(b'}');
}

/// A goodbye as a record: `{"bye":{…}}`.
pub fn write_goodbye_record(goodbye: &Goodbye, reconnect_ms: u64, out: &mut BytesMut) {
    out.put_slice(b"{\"bye\":");
    write_goodbye(goodbye, reconnect_ms, out);
    out.put_u8(b'}');
}

/// The goodbye itself: `{"code":…,"reason":…,"reconnect_ms":…}`, null for a client that should not come back.
pub fn write_goodbye(goodbye: &Goodbye, reconnect_ms: u64, out: &mut BytesMut) {
    out.put_slice(b"{\"code\":");
    write_number(goodbye.code.into(), out);
    out.put_slice(b",\"reason\":");
    write_string(&goodbye.reason, out);
    out.put_slice(b",\"reconnect_ms\":");
    match goodbye.reconnect {
        true => write_number(reconnect_ms, out),
        false => out.put_slice(b"null"),
    }
    out.put_u8(b'}');
}

pub(super) fn write_number(number: u64, out: &mut BytesMut) {
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A position as a JSON string; its characters never need an escape.
pub(crate) fn write_position(position: Position, out: &mut BytesMut) {
    out.put_u8(b'"');
    position.write_to(out);
    out.put_u8(b'"');
}

fn write_data(content_type: &ContentType, data: &[u8], out: &mut BytesMut) {
    if *content_type == ContentType::Json {
        return write_on_one_line(data, out);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        return write_string(text, out);
    }
    out.put_u8(b'"');
    write_base64(data, out);
    out.put_slice(b"\",\"base64\":true");
}

fn write_headers(headers: &Headers, out: &mut BytesMut) {
    out.put_slice(b",\"headers\":{");
    for (index, (name, value)) in headers.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        write_string(name, out);
        out.put_u8(b':');
        write_string(value, out);
    }
    out.put_u8(b'}');
}
