//! A format and the framing that its transport puts around each record. Subscribers with the same encoding share a tape.

use bytes::{BufMut, BytesMut};

use crate::disconnect::Goodbye;
use crate::format::{Format, Forms};
use crate::name::ChannelName;
use crate::position::Position;
use crate::publication::Publication;
use crate::start::Gap;
use crate::websocket::{Opcode, write_head};

/// How a channel's records are written to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoding {
    /// What a record says.
    pub format: Format,
    /// What the transport puts around it.
    pub framing: Framing,
    /// Whether each connection has something of its own in every record, so that no tape can be shared.
    pub own: bool,
}

/// What a transport puts around a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Nothing: the record ends by its own form.
    Raw,
    /// A chunk of HTTP/1.1 (RFC 9112, 7.1).
    Chunked,
    /// A message of WebSocket (RFC 6455, 5.6): binary where the payload is, else text.
    WebSocket,
}

/// Writes records in any encoding.
#[derive(Debug, Clone)]
pub struct Encoder {
    forms: Forms,
}

impl Encoding {
    /// How many encodings there are.
    pub const COUNT: usize = 5 * 3 * 2;

    /// An encoding that all connections share.
    pub const fn new(format: Format, framing: Framing) -> Self {
        Self { format, framing, own: false }
    }

    /// A number of its own, below `COUNT`.
    pub const fn index(self) -> usize {
        (self.format as usize * 3 + self.framing as usize) * 2 + self.own as usize
    }
}

impl Encoder {
    /// An encoder that writes records in these forms.
    pub fn new(forms: Forms) -> Self {
        Self { forms }
    }

    /// The forms.
    pub fn forms(&self) -> &Forms {
        &self.forms
    }

    /// One publication.
    pub fn publication(
        &self,
        encoding: Encoding,
        channel: &ChannelName,
        publication: &Publication,
        composite: Option<&str>,
        out: &mut BytesMut,
    ) {
        if (encoding.format, encoding.framing) == (Format::Payload, Framing::WebSocket) {
            // No scratch: the payload is the record, and its length is known.
            let data = &publication.draft.data;
            write_head(out, payload_opcode(publication), data.len());
            return out.put_slice(data);
        }
        frame(encoding.framing, out, |out| self.forms.publication(encoding.format, channel, publication, composite, out));
    }

    /// What a stream begins with and the first record of a subscription: where it starts.
    pub fn start(&self, encoding: Encoding, channel: &ChannelName, cursor: Position, composite: Option<&str>, out: &mut BytesMut) {
        frame(encoding.framing, out, |out| self.forms.start(encoding.format, channel, cursor, composite, out));
    }

    /// What a stream begins with, before any record.
    pub fn preamble(&self, encoding: Encoding, out: &mut BytesMut) {
        frame(encoding.framing, out, |out| self.forms.preamble(encoding.format, out));
    }

    /// A gap; `false` where the format has no room for it.
    pub fn gap(&self, encoding: Encoding, channel: &ChannelName, gap: &Gap, composite: Option<&str>, out: &mut BytesMut) -> bool {
        let mut said = false;
        frame(encoding.framing, out, |out| said = self.forms.gap(encoding.format, channel, gap, composite, out));
        said
    }

    /// A sign of life, for streams; a WebSocket has pings.
    pub fn heartbeat(&self, encoding: Encoding, channel: &ChannelName, cursor: Position, composite: Option<&str>, out: &mut BytesMut) {
        frame(encoding.framing, out, |out| self.forms.heartbeat(encoding.format, channel, cursor, composite, out));
    }

    /// The last record, and the end of a chunked body.
    pub fn goodbye(&self, encoding: Encoding, goodbye: &Goodbye, reconnect_ms: u64, out: &mut BytesMut) {
        frame(encoding.framing, out, |out| self.forms.goodbye(encoding.format, goodbye, reconnect_ms, out));
        if encoding.framing == Framing::Chunked {
            out.put_slice(b"0\r\n\r\n");
        }
    }
}

/// Writes a record with its framing; nothing for a record that is empty, since an empty chunk would end the body.
pub fn frame(framing: Framing, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    if framing == Framing::Raw {
        return write(out);
    }
    let mut record = BytesMut::new();
    write(&mut record);
    if record.is_empty() {
        return;
    }
    match framing {
        Framing::Raw => (),
        Framing::Chunked => {
            write_chunk_size(record.len(), out);
            out.put_slice(&record);
            out.put_slice(b"\r\n");
        }
        Framing::WebSocket => {
            // A line's end has no meaning within a message.
            let message = record.strip_suffix(b"\n").unwrap_or(&record);
            write_head(out, Opcode::Text, message.len());
            out.put_slice(message);
        }
    }
}

fn payload_opcode(publication: &Publication) -> Opcode {
    let draft = &publication.draft;
    if draft.content_type.is_textual() && std::str::from_utf8(&draft.data).is_ok() { Opcode::Text } else { Opcode::Binary }
}

fn write_chunk_size(len: usize, out: &mut BytesMut) {
    let mut digits = [0u8; 16];
    let mut rest = len;
    let mut at = digits.len();
    while rest > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest % 16];
        rest /= 16;
    }
    out.put_slice(&digits[at..]);
    out.put_slice(b"\r\n");
}
