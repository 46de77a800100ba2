//! What the server says in the native protocol: JSON objects without a line end, which the transport adds where it needs one.
//!
//! Publications, gaps, cursors and goodbyes are the records of [`crate::format::json`].

use bytes::{BufMut, BytesMut};

use super::{Id, NativeFault, PingValue};
use crate::format::json::write_position;
use crate::json::{write_on_one_line, write_string};
use crate::name::ChannelName;
use crate::position::{Cursor, Position};

/// The answer to a subscribe: `{"id":1,"channel":…,"cursor":…}`. Where a gap follows, the cursor is the one asked with.
pub fn write_subscribed(id: Option<&Id>, channel: &ChannelName, cursor: &Cursor, out: &mut BytesMut) {
    begin(id, out);
    name("channel", out);
    write_string(channel.as_str(), out);
    name("cursor", out);
    write_string(cursor.as_str(), out);
    out.put_u8(b'}');
}

/// The answer to a publish: `{"id":2,"position":…}`.
pub fn write_published(id: Option<&Id>, position: Position, out: &mut BytesMut) {
    begin(id, out);
    name("position", out);
    write_position(position, out);
    out.put_u8(b'}');
}

/// The answer to what has no more to say than that it was done: `{"id":3}`.
pub fn write_done(id: Option<&Id>, out: &mut BytesMut) {
    begin(id, out);
    out.put_u8(b'}');
}

/// The answer to a ping: `{"pong":1}`.
pub fn write_pong(value: &PingValue, out: &mut BytesMut) {
    out.put_slice(b"{\"pong\":");
    write_on_one_line(value.as_json().as_bytes(), out);
    out.put_u8(b'}');
}

/// The answer to a ping that asks for pings: `{"pong":1,"every_ms":10000}`.
pub fn write_agreed(value: &PingValue, every_ms: u64, out: &mut BytesMut) {
    out.put_slice(b"{\"pong\":");
    write_on_one_line(value.as_json().as_bytes(), out);
    out.put_slice(b",\"every_ms\":");
    out.put_slice(itoa::Buffer::new().format(every_ms).as_bytes());
    out.put_u8(b'}');
}

/// Asks whether the client is there: `{"ping":1}`.
pub fn write_ping(number: u64, out: &mut BytesMut) {
    out.put_slice(b"{\"ping\":");
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
    out.put_u8(b'}');
}

/// What is wrong: `{"id":…,"error":{"code":…,"message":…}}`.
pub fn write_error(id: Option<&Id>, code: &str, message: &str, out: &mut BytesMut) {
    begin(id, out);
    name("error", out);
    out.put_slice(b"{\"code\":");
    write_string(code, out);
    out.put_slice(b",\"message\":");
    write_string(message, out);
    out.put_slice(b"}}");
}

/// A publish came too soon: the error, and in how many milliseconds it may be tried again.
pub fn write_too_fast(id: Option<&Id>, code: &str, retry_ms: u64, out: &mut BytesMut) {
    begin(id, out);
    name("error", out);
    out.put_slice(b"{\"code\":");
    write_string(code, out);
    let message = format!("you publish faster than this server lets you; try again in {retry_ms} ms");
    out.put_slice(b",\"message\":");
    write_string(&message, out);
    out.put_slice(b",\"retry_ms\":");
    out.put_slice(retry_ms.to_string().as_bytes());
    out.put_slice(b"}}");
}

/// What is wrong with a command, under its id.
pub fn write_fault(fault: &NativeFault, out: &mut BytesMut) {
    write_error(fault.id.as_ref(), fault.code(), &fault.to_string(), out);
}

fn begin(id: Option<&Id>, out: &mut BytesMut) {
    out.put_u8(b'{');
    if let Some(id) = id {
        out.put_slice(b"\"id\":");
        out.put_slice(id.as_json().as_bytes());
    }
}

fn name(name: &str, out: &mut BytesMut) {
    if out.last() != Some(&b'{') {
        out.put_u8(b',');
    }
    out.put_u8(b'"');
    out.put_slice(name.as_bytes());
    out.put_slice(b"\":");
}
