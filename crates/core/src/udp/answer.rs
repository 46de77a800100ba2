//! What the server says over UDP beside what the native protocol says everywhere: JSON objects, each with its line end.

use bytes::{BufMut, BytesMut};

use super::{Cookie, HELLO_BYTES_MIN, UdpFault};
use crate::format::json::write_position;
use crate::json::write_string;
use crate::name::ChannelName;
use crate::native::Id;
use crate::position::{Cursor, Position};
use crate::publication::Publication;

/// What a client is told with its cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long the cookie holds.
    pub cookie_ms: u64,
    /// How long a subscription lasts unless it is renewed.
    pub lease_ms: u64,
    /// The longest datagram, either way.
    pub datagram_bytes_max: usize,
}

/// Answers an address that is not validated, in at most `room` bytes, which is what it sent: the fullest answer that fits, down to
/// how far to pad. Nothing where even that does not fit.
pub fn write_stranger_answer(fault: Option<UdpFault>, cookie: Cookie, terms: &Terms, room: usize, out: &mut BytesMut) {
    let code = |fault: UdpFault, sentence: bool, out: &mut BytesMut| {
        out.put_slice(b",\"error\":{\"code\":");
        write_string(fault.code(), out);
        if sentence {
            out.put_slice(b",\"message\":");
            write_string(&fault.to_string(), out);
        }
        out.put_u8(b'}');
    };
    let forms: [&dyn Fn(&mut BytesMut); 4] = [
        &|out| {
            write_cookie_member(cookie, out);
            for (name, value) in
                [("cookie_ms", terms.cookie_ms), ("lease_ms", terms.lease_ms), ("datagram_bytes_max", terms.datagram_bytes_max as u64)]
            {
                write_number(name, value, out);
            }
            if let Some(fault) = fault {
                code(fault, true, out);
            }
        },
        &|out| {
            write_cookie_member(cookie, out);
            if let Some(fault) = fault {
                code(fault, false, out);
            }
        },
        &|out| write_cookie_member(cookie, out),
        &|out| {
            out.put_slice(b"{\"pad\":");
            out.put_slice(itoa::Buffer::new().format(HELLO_BYTES_MIN).as_bytes());
        },
    ];
    for form in forms {
        let start = out.len();
        form(out);
        out.put_u8(b'}');
        if out.len() - start <= room {
            return;
        }
        out.truncate(start);
    }
}

/// A newer cookie, for a client that has one which holds: `{"cookie":…}`.
pub fn write_cookie(cookie: Cookie, out: &mut BytesMut) {
    write_cookie_member(cookie, out);
    out.put_slice(b"}\n");
}

/// The answer to a subscribe, which is also what a renewal is told: where it begins, and what has been sent of it so far.
pub fn write_subscribed(id: Option<&Id>, channel: &ChannelName, cursor: &Cursor, head: Position, lease_ms: u64, out: &mut BytesMut) {
    begin(id, channel, out);
    out.put_slice(b",\"cursor\":");
    write_string(cursor.as_str(), out);
    out.put_slice(b",\"head\":");
    write_position(head, out);
    write_number("lease_ms", lease_ms, out);
    out.put_slice(b"}\n");
}

/// Where a channel is: everything up to here was sent.
pub fn write_head(channel: &ChannelName, head: Position, out: &mut BytesMut) {
    begin(None, channel, out);
    out.put_slice(b",\"head\":");
    write_position(head, out);
    out.put_slice(b"}\n");
}

/// The end of what a repair is answered with: everything from its cursor up to here was sent again.
pub fn write_repaired(id: Option<&Id>, channel: &ChannelName, through: Position, out: &mut BytesMut) {
    begin(id, channel, out);
    out.put_slice(b",\"repaired\":");
    write_position(through, out);
    out.put_slice(b"}\n");
}

/// A subscription that was not renewed has ended; nothing more of the channel comes.
pub fn write_lease_ended(channel: &ChannelName, head: Position, out: &mut BytesMut) {
    begin(None, channel, out);
    out.put_slice(b",\"ended\":");
    write_position(head, out);
    out.put_slice(b"}\n");
}

/// A publication that does not fit: where it is and how many bytes its payload has.
pub fn write_announcement(channel: &ChannelName, publication: &Publication, out: &mut BytesMut) {
    begin(None, channel, out);
    out.put_slice(b",\"position\":");
    write_position(publication.position, out);
    write_number("length", publication.draft.data.len() as u64, out);
    out.put_slice(b"}\n");
}

fn begin(id: Option<&Id>, channel: &ChannelName, out: &mut BytesMut) {
    out.put_u8(b'{');
    if let Some(id) = id {
        out.put_slice(b"\"id\":");
        out.put_slice(id.as_json().as_bytes());
        out.put_u8(b',');
    }
    out.put_slice(b"\"channel\":");
    write_string(channel.as_str(), out);
}

fn write_cookie_member(cookie: Cookie, out: &mut BytesMut) {
    out.put_slice(b"{\"cookie\":");
    write_string(&cookie.to_text(), out);
}

fn write_number(name: &str, value: u64, out: &mut BytesMut) {
    out.put_u8(b',');
    write_string(name, out);
    out.put_u8(b':');
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
}
