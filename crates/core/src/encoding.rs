//! A format and the framing that its transport puts around each record. Subscribers with the same encoding share a tape.

use bytes::{BufMut, BytesMut};

use crate::disconnect::Goodbye;
use crate::format::{Format, Forms};
use crate::name::ChannelName;
use crate::position::Position;
use crate::publication::Publication;
use crate::start::Gap;
use crate::stomp::{FormKey, MessageForm};
use crate::udp::{DATAGRAM_BYTES_MIN, write_announcement};
use crate::websocket::deflate::{Compressions, DeflateConfig, Deflaters, WINDOW_BITS_MAX, WINDOW_BITS_MIN, Window};
use crate::websocket::{Opcode, write_frame, write_head};

/// How a channel's records are written to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Encoding {
    /// What a record says.
    pub format: Format,
    /// What the transport puts around it.
    pub framing: Framing,
    /// Whether each connection has something of its own in every record, so that no tape can be shared.
    pub own: bool,
    /// The window of its WebSocket messages, where compression was agreed: those with the same one share their frames.
    pub deflate: Option<Window>,
}

/// What a transport puts around a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Framing {
    /// Nothing: the record ends by its own form.
    Raw,
    /// A chunk of HTTP/1.1 (RFC 9112, 7.1).
    Chunked,
    /// A message of WebSocket (RFC 6455, 5.6): binary where the payload is, else text.
    WebSocket,
    /// A line in a datagram: a publication that does not fit is announced instead.
    Datagram,
}

/// Writes records in any encoding. It belongs to one thread; a clone starts with deflaters and STOMP forms of its own.
#[derive(Debug, Clone)]
pub struct Encoder {
    forms: Forms,
    deflaters: Deflaters,
    datagram_bytes_max: usize,
}

impl Encoding {
    /// How many encodings there are; the forms of STOMP's subscriptions do not count.
    pub const COUNT: usize = FORMATS.len() * FRAMINGS.len() * 2 * WINDOWS;

    /// An encoding that all connections share.
    pub const fn new(format: Format, framing: Framing) -> Self {
        Self { format, framing, own: false, deflate: None }
    }

    /// A number of its own, below `COUNT`. Encodings that differ in the form of a STOMP subscription have the same.
    pub const fn index(self) -> usize {
        let window = match self.deflate {
            Some(window) => window.index() + 1,
            None => 0,
        };
        ((self.format.index() * FRAMINGS.len() + self.framing as usize) * 2 + self.own as usize) * WINDOWS + window
    }

    /// Every encoding, those of STOMP once for all forms.
    pub fn all() -> impl Iterator<Item = Self> {
        let windows = || std::iter::once(None).chain((WINDOW_BITS_MIN..=WINDOW_BITS_MAX).map(Window::of_bits));
        let of = move |format, framing, own| windows().map(move |deflate| Self { format, framing, own, deflate });
        let framings = move |format| FRAMINGS.into_iter().flat_map(move |framing| [false, true].map(|own| (format, framing, own)));
        FORMATS.into_iter().flat_map(framings).flat_map(move |(format, framing, own)| of(format, framing, own))
    }
}

const FORMATS: [Format; 6] = [Format::Payload, Format::Json, Format::Sse, Format::SseJson, Format::Multipart, Format::Stomp(FormKey::ANY)];
const FRAMINGS: [Framing; 4] = [Framing::Raw, Framing::Chunked, Framing::WebSocket, Framing::Datagram];
/// The windows, and none.
const WINDOWS: usize = Window::COUNT + 1;

impl Encoder {
    /// An encoder that writes records in these forms.
    pub fn new(forms: Forms) -> Self {
        Self::with_deflate(forms, DeflateConfig::default())
    }

    /// An encoder that compresses, where that was agreed, by this configuration's level and threshold.
    pub fn with_deflate(forms: Forms, config: DeflateConfig) -> Self {
        Self { forms, deflaters: Deflaters::new(config), datagram_bytes_max: DATAGRAM_BYTES_MIN }
    }

    /// Bounds the lines of datagrams.
    pub fn set_datagram_bytes_max(&mut self, bytes_max: usize) {
        self.datagram_bytes_max = bytes_max;
    }

    /// Compresses by another level and threshold from now on.
    pub fn reconfigure(&mut self, config: DeflateConfig) {
        self.deflaters.reconfigure(config);
    }

    /// The forms.
    pub fn forms(&self) -> &Forms {
        &self.forms
    }

    /// The key of a STOMP subscription's form, held until it is given back with `release`.
    pub fn hold_form(&mut self, form: &MessageForm) -> FormKey {
        self.forms.messages.hold(form)
    }

    /// Keeps what an encoding refers to.
    pub(crate) fn hold(&mut self, encoding: Encoding) {
        if let Format::Stomp(form) = encoding.format {
            self.forms.messages.hold_again(form);
        }
    }

    /// Lets go what an encoding refers to.
    pub fn release(&mut self, encoding: Encoding) {
        if let Format::Stomp(form) = encoding.format {
            self.forms.messages.release(form);
        }
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
        match (encoding.format, encoding.framing) {
            (Format::Payload, Framing::WebSocket) => {
                // No scratch: the payload is the record, and its length is known.
                return self.message(encoding.deflate, payload_opcode(publication), &publication.draft.data, out);
            }
            (Format::Stomp(_), Framing::WebSocket) => {
                // A frame with a binary body is binary all over.
                let mut frame = BytesMut::new();
                self.forms.publication(encoding.format, channel, publication, composite, &mut frame);
                return self.message(encoding.deflate, payload_opcode(publication), &frame, out);
            }
            _ => (),
        }
        let start = out.len();
        self.frame(encoding, out, |out| self.forms.publication(encoding.format, channel, publication, composite, out));
        if encoding.framing == Framing::Datagram && out.len() - start > self.datagram_bytes_max {
            out.truncate(start);
            write_announcement(channel, publication, out);
        }
    }

    /// What a stream begins with and the first record of a subscription: where it starts.
    pub fn start(&self, encoding: Encoding, channel: &ChannelName, cursor: Position, composite: Option<&str>, out: &mut BytesMut) {
        self.frame(encoding, out, |out| self.forms.start(encoding.format, channel, cursor, composite, out));
    }

    /// What a stream begins with, before any record.
    pub fn preamble(&self, encoding: Encoding, out: &mut BytesMut) {
        self.frame(encoding, out, |out| self.forms.preamble(encoding.format, out));
    }

    /// A gap; `false` where the format has no room for it.
    pub fn gap(&self, encoding: Encoding, channel: &ChannelName, gap: &Gap, composite: Option<&str>, out: &mut BytesMut) -> bool {
        let mut said = false;
        self.frame(encoding, out, |out| said = self.forms.gap(encoding.format, channel, gap, composite, out));
        said
    }

    /// A sign of life, for streams; a WebSocket has pings.
    pub fn heartbeat(&self, encoding: Encoding, channel: &ChannelName, cursor: Position, composite: Option<&str>, out: &mut BytesMut) {
        self.frame(encoding, out, |out| self.forms.heartbeat(encoding.format, channel, cursor, composite, out));
    }

    /// The last record, and the end of a chunked body.
    pub fn goodbye(&self, encoding: Encoding, goodbye: &Goodbye, reconnect_ms: u64, out: &mut BytesMut) {
        self.frame(encoding, out, |out| self.forms.goodbye(encoding.format, goodbye, reconnect_ms, out));
        if encoding.framing == Framing::Chunked {
            out.put_slice(b"0\r\n\r\n");
        }
    }

    /// Writes a record with its framing; nothing for a record that is empty, since an empty chunk would end the body.
    pub fn frame(&self, encoding: Encoding, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        let start = out.len();
        match encoding.framing {
            Framing::Raw | Framing::Datagram => write(out),
            Framing::Chunked => {
                write(out);
                if out.len() > start {
                    put_before(out, start, write_chunk_size);
                    out.put_slice(b"\r\n");
                }
            }
            Framing::WebSocket => match encoding.deflate {
                Some(window) => {
                    let mut record = BytesMut::new();
                    write(&mut record);
                    if !record.is_empty() {
                        self.deflaters.lay(window, Opcode::Text, message_of(&record), out);
                    }
                }
                None => {
                    write(out);
                    if out.len() > start {
                        out.truncate(start + message_of(&out[start..]).len());
                        put_before(out, start, |len, out| write_head(out, Opcode::Text, len));
                    }
                }
            },
        }
    }

    /// Writes a WebSocket message, compressed where that was agreed and makes it shorter.
    pub fn message(&self, deflate: Option<Window>, opcode: Opcode, payload: &[u8], out: &mut BytesMut) {
        match deflate {
            Some(window) => self.deflaters.lay(window, opcode, payload, out),
            None => write_frame(out, opcode, payload),
        }
    }

    /// What it has compressed.
    pub fn compressions(&self) -> Compressions {
        self.deflaters.compressions()
    }
}

fn payload_opcode(publication: &Publication) -> Opcode {
    let draft = &publication.draft;
    if draft.content_type.is_textual() && std::str::from_utf8(&draft.data).is_ok() { Opcode::Text } else { Opcode::Binary }
}

/// A record as a message: a line's end has no meaning within one.
fn message_of(record: &[u8]) -> &[u8] {
    record.strip_suffix(b"\n").unwrap_or(record)
}

/// Puts what depends on a record's length before the record, which was written from `start` on.
fn put_before(out: &mut BytesMut, start: usize, write_head: impl FnOnce(usize, &mut BytesMut)) {
    let end = out.len();
    write_head(end - start, out);
    let head_bytes = out.len() - end;
    out[start..].rotate_right(head_bytes);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_has_a_number_of_its_own() {
        let numbers: Vec<_> = Encoding::all().map(Encoding::index).collect();
        assert_eq!(numbers, (0..Encoding::COUNT).collect::<Vec<_>>());
    }
}
