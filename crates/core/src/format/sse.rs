//! Server-sent events, so that a browser's own `EventSource` sees publications, gaps and goodbyes.
//!
//! An event's data is a list of lines that arrive joined by LF, so a payload with a CR, which would not arrive as it was
//! published, goes as base64 like one that is not text. Whoever wants one form for all asks for the whole JSON form.

use bytes::{BufMut, BytesMut};

use super::json::{json_object, write_gap, write_gap_record, write_goodbye, write_number};
use crate::disconnect::Goodbye;
use crate::json::write_base64;
use crate::name::ChannelName;
use crate::position::Position;
use crate::publication::Publication;
use crate::start::Gap;

/// A block with only an id: it dispatches no event, and a reconnecting `EventSource` gives the id back.
pub(super) fn cursor(cursor: Position, composite: Option<&str>, out: &mut BytesMut) {
    write_id(cursor, composite, out);
    out.put_u8(b'\n');
}

pub(super) fn publication(publication: &Publication, composite: Option<&str>, out: &mut BytesMut) {
    let data = &publication.draft.data;
    out.reserve(data.len() + 64);
    write_id(publication.position, composite, out);
    if memchr::memchr(b'\r', data).is_none() && std::str::from_utf8(data).is_ok() {
        write_lines(data, out);
    } else {
        out.put_slice(b"event: base64\ndata: ");
        write_base64(data, out);
        out.put_u8(b'\n');
    }
    out.put_u8(b'\n');
}

pub(super) fn json_publication(channel: &ChannelName, publication: &Publication, composite: Option<&str>, out: &mut BytesMut) {
    write_id(publication.position, composite, out);
    out.put_slice(b"data: ");
    json_object(channel, publication, composite, out);
    out.put_slice(b"\n\n");
}

pub(super) fn gap(channel: &ChannelName, gap: &Gap, composite: Option<&str>, out: &mut BytesMut) {
    write_id(gap.resumed, composite, out);
    out.put_slice(b"event: gap\ndata: ");
    write_gap(composite.map(|_| channel), gap, out);
    out.put_slice(b"\n\n");
}

pub(super) fn json_gap(channel: &ChannelName, gap: &Gap, composite: Option<&str>, out: &mut BytesMut) {
    write_id(gap.resumed, composite, out);
    out.put_slice(b"event: gap\ndata: ");
    write_gap_record(channel, gap, composite, out);
    out.put_slice(b"\n\n");
}

/// No `retry:` for a client that should not come back: there is no such word, and a shorter wait would be wrong.
pub(super) fn goodbye(goodbye: &Goodbye, reconnect_ms: u64, out: &mut BytesMut) {
    if goodbye.reconnect {
        out.put_slice(b"retry: ");
        write_number(reconnect_ms, out);
        out.put_u8(b'\n');
    }
    out.put_slice(b"event: bye\ndata: ");
    write_goodbye(goodbye, reconnect_ms, out);
    out.put_slice(b"\n\n");
}

fn write_id(position: Position, composite: Option<&str>, out: &mut BytesMut) {
    out.put_slice(b"id: ");
    match composite {
        Some(composite) => out.put_slice(composite.as_bytes()),
        None => position.write_to(out),
    }
    out.put_u8(b'\n');
}

fn write_lines(data: &[u8], out: &mut BytesMut) {
    let mut rest = data;
    loop {
        let end = memchr::memchr(b'\n', rest);
        write_line(&rest[..end.unwrap_or(rest.len())], out);
        let Some(end) = end else { return };
        rest = &rest[end + 1..];
    }
}

fn write_line(line: &[u8], out: &mut BytesMut) {
    // A space after the colon belongs to the form, so that a line which begins with one keeps its own.
    out.put_slice(if line.is_empty() { b"data:" } else { b"data: " });
    out.put_slice(line);
    out.put_u8(b'\n');
}
