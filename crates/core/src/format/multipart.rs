//! `multipart/mixed`: a part for each record, with the payload's very bytes and everything else in part headers.
//!
//! The delimiter is sent right after each part, so that a reader has the part at once. In `Bongsu-…` headers every byte that is
//! not visible ASCII, and `%` itself, is percent-encoded; a publication's own header `name` is `Bongsu-Header-name`, where what
//! cannot stand in a header's name is percent-encoded too. So nothing that a publisher wrote can end a line.

use bytes::{BufMut, BytesMut};

use super::Forms;
use super::json::{write_cursor, write_gap_record, write_goodbye_record, write_number};
use crate::disconnect::Goodbye;
use crate::json::write_base64;
use crate::name::ChannelName;
use crate::position::Position;
use crate::publication::Publication;
use crate::start::Gap;
use crate::timestamp::timestamp;

pub(super) fn preamble(forms: &Forms, out: &mut BytesMut) {
    out.put_slice(b"--");
    out.put_slice(forms.boundary.as_bytes());
    out.put_slice(b"\r\n");
}

pub(super) fn cursor(forms: &Forms, channel: Option<&ChannelName>, cursor: Position, composite: Option<&str>, out: &mut BytesMut) {
    if let Some(channel) = channel {
        header(b"Bongsu-Channel", channel.as_str(), out);
    }
    cursor_header(cursor, composite, out);
    json_body(out, |body| write_cursor(channel, cursor, composite, body));
    delimiter(forms, out);
}

pub(super) fn publication(forms: &Forms, channel: &ChannelName, publication: &Publication, composite: Option<&str>, out: &mut BytesMut) {
    let draft = &publication.draft;
    out.reserve(draft.data.len() + 384);
    header(b"Bongsu-Channel", channel.as_str(), out);
    out.put_slice(b"Bongsu-Position: ");
    publication.position.write_to(out);
    out.put_slice(b"\r\n");
    cursor_header(publication.position, composite, out);
    out.put_slice(b"Bongsu-Time: ");
    out.put_slice(&timestamp(publication.time_ms));
    out.put_slice(b"\r\n");
    if let Some(key) = &draft.key {
        header(b"Bongsu-Key", key, out);
    }
    for (name, value) in &draft.headers {
        out.put_slice(b"Bongsu-Header-");
        write_encoded(name, is_name_byte, out);
        out.put_slice(b": ");
        write_encoded(value, is_value_byte, out);
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"Content-Type: ");
    // Spaces and `%` may stand in a media type; only what could end the line is encoded.
    write_encoded(draft.content_type.as_str(), |byte| matches!(byte, 0x20..=0x7e), out);
    out.put_slice(b"\r\n");
    payload(forms, &draft.data, out);
    delimiter(forms, out);
}

pub(super) fn gap(forms: &Forms, channel: &ChannelName, gap: &Gap, composite: Option<&str>, out: &mut BytesMut) {
    header(b"Bongsu-Channel", channel.as_str(), out);
    header(b"Bongsu-Gap", gap.reason.as_str(), out);
    cursor_header(gap.resumed, composite, out);
    json_body(out, |body| write_gap_record(channel, gap, composite, body));
    delimiter(forms, out);
}

pub(super) fn goodbye(forms: &Forms, goodbye: &Goodbye, reconnect_ms: u64, out: &mut BytesMut) {
    json_body(out, |body| write_goodbye_record(goodbye, reconnect_ms, body));
    out.put_slice(b"\r\n--");
    out.put_slice(forms.boundary.as_bytes());
    out.put_slice(b"--\r\n");
}

fn delimiter(forms: &Forms, out: &mut BytesMut) {
    out.put_slice(b"\r\n");
    preamble(forms, out);
}

fn cursor_header(cursor: Position, composite: Option<&str>, out: &mut BytesMut) {
    out.put_slice(b"Bongsu-Cursor: ");
    match composite {
        Some(composite) => out.put_slice(composite.as_bytes()),
        None => cursor.write_to(out),
    }
    out.put_slice(b"\r\n");
}

fn header(name: &[u8], value: &str, out: &mut BytesMut) {
    out.put_slice(name);
    out.put_slice(b": ");
    write_encoded(value, is_value_byte, out);
    out.put_slice(b"\r\n");
}

fn json_body(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let mut body = BytesMut::new();
    write(&mut body);
    out.put_slice(b"Content-Type: application/json\r\n");
    end_of_headers(body.len(), out);
    out.put_slice(&body);
}

fn payload(forms: &Forms, data: &[u8], out: &mut BytesMut) {
    // Only who has seen the boundary can publish it, and gets it through all the same.
    if forms.delimiter.find(data).is_none() {
        end_of_headers(data.len(), out);
        out.put_slice(data);
        return;
    }
    let mut body = BytesMut::new();
    for (index, line) in data.chunks(BASE64_LINE_BYTES).enumerate() {
        if index > 0 {
            body.put_slice(b"\r\n");
        }
        write_base64(line, &mut body);
    }
    out.put_slice(b"Content-Transfer-Encoding: base64\r\n");
    end_of_headers(body.len(), out);
    out.put_slice(&body);
}

/// RFC 2045 section 6.8: encoded lines have at most 76 characters.
const BASE64_LINE_BYTES: usize = 57;

fn end_of_headers(content_length: usize, out: &mut BytesMut) {
    out.put_slice(b"Content-Length: ");
    write_number(content_length as u64, out);
    out.put_slice(b"\r\n\r\n");
}

fn write_encoded(text: &str, stays: impl Fn(u8) -> bool, out: &mut BytesMut) {
    for byte in text.bytes() {
        if stays(byte) {
            out.put_u8(byte);
        } else {
            let hex = b"0123456789ABCDEF";
            out.put_slice(&[b'%', hex[usize::from(byte >> 4)], hex[usize::from(byte & 15)]]);
        }
    }
}

fn is_value_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && byte != b'%'
}

/// RFC 9110 section 5.6.2: the characters of a token, without `%`.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte)
}
