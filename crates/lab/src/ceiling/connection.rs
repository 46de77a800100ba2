//! One connection of the bare server, and the bytes of its three encodings.

use std::io::{ErrorKind, Read, Write};
use std::ops::Range;

use base64::Engine as _;
use mio::net::TcpStream;
use sha1::{Digest, Sha1};

use super::Encoding;

/// A socket, what it still has to say, and what it has said by half.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    pub(super) phase: Phase,
    pub(super) channels: Box<[u32]>,
    pub(super) unfinished: Vec<u8>,
    backlog: Vec<u8>,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its request has not been read yet.
    Head,
    /// Its poll waits for something to come.
    Waiting,
    /// It is on its channels.
    Open(Encoding),
}

/// A request that was read whole.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) channels: Vec<String>,
    pub(super) encoding: Encoding,
    /// The cursor of a poll, and whether its answer is held back until there is something.
    pub(super) after: Option<u64>,
    pub(super) waits: bool,
    pub(super) answer: Vec<u8>,
}

/// A frame whose mask was taken off in place.
#[derive(Debug)]
pub(super) struct Unmasked {
    pub(super) opcode: u8,
    pub(super) payload: Range<usize>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, phase: Phase::Head, channels: Box::default(), unfinished: Vec::new(), backlog: Vec::new() }
    }

    /// Reads once: how many bytes (0 if there were none), or nothing at the end of the connection.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.stream.read(buffer) {
            Ok(0) => None,
            Ok(read) => Some(read),
            Err(error) => would_block(&error).then_some(0),
        }
    }

    /// Writes what the socket takes; the rest waits until the socket is writable.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let written = if self.backlog.is_empty() { self.stream.write(bytes).unwrap_or(0) } else { 0 };
        if written < bytes.len() {
            self.backlog.extend_from_slice(&bytes[written..]);
        }
    }

    /// Writes what waited; false if the connection has failed or holds too much.
    pub(super) fn drain(&mut self) -> bool {
        while !self.backlog.is_empty() {
            match self.stream.write(&self.backlog) {
                Ok(written) => drop(self.backlog.drain(..written)),
                Err(error) => return would_block(&error) && self.backlog.len() < BACKLOG_BYTES_MAX,
            }
        }
        self.backlog = Vec::new();
        true
    }
}

impl Request {
    /// Reads a request head; nothing while it is not whole.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(head) = request.parse(bytes).ok()? else { return None };
        let target = request.path?;
        let value = |name: &str| request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value);
        let accepts = |media: &[u8]| value("accept").is_some_and(|value| memchr::memmem::find(value, media).is_some());
        let (encoding, answer) = match value("sec-websocket-key") {
            Some(key) => (Encoding::WebSocket, switching(key)),
            None if accepts(b"json") && !accepts(b"ndjson") => (Encoding::LongPoll, Vec::new()),
            None if accepts(b"event-stream") => (Encoding::Sse, streaming("text/event-stream")),
            None => (Encoding::Lines, streaming("application/x-ndjson")),
        };
        let after = query(target, "after=").and_then(|after| after.parse().ok());
        Some((Self { channels: channels(target), encoding, after, waits: query(target, "wait=").is_some(), answer }, head))
    }
}

/// The value of a query parameter, given with its equals sign.
fn query<'a>(target: &'a str, name: &str) -> Option<&'a str> {
    target.split_once('?')?.1.split('&').find_map(|pair| pair.strip_prefix(name))
}

fn channels(target: &str) -> Vec<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let named: Vec<String> = query.split('&').filter_map(|pair| pair.strip_prefix("channel=")).map(str::to_owned).collect();
    if named.is_empty() { vec![path.rsplit('/').next().unwrap_or(path).to_owned()] } else { named }
}

fn switching(key: &[u8]) -> Vec<u8> {
    let digest = Sha1::new().chain_update(key).chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n")
        .into()
}

fn streaming(media: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nTransfer-Encoding: chunked\r\n\r\n").into()
}

/// Takes the mask off the first frame, if it is whole. No checks: the load driver is the only client.
pub(super) fn unmask(bytes: &mut [u8]) -> Option<Unmasked> {
    let (&[first, second], _) = bytes.split_first_chunk()?;
    let (start, len): (usize, usize) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?),
        len => (2, usize::from(len)),
    };
    let masked = second & 0x80 != 0;
    let start = if masked { start + 4 } else { start };
    let payload = start..start.checked_add(len)?;
    bytes.get(payload.clone())?;
    if masked {
        let key: [u8; 4] = *bytes[start - 4..].first_chunk()?;
        bytes[payload.clone()].iter_mut().zip(key.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    }
    Some(Unmasked { opcode: first & 0x0f, payload })
}

/// Lays a message as one frame, event or line behind what is there.
pub(super) fn lay(encoding: Encoding, payload: &[u8], out: &mut Vec<u8>) {
    match encoding {
        Encoding::WebSocket => {
            out.push(0x81);
            match payload.len() {
                len @ 0..126 => out.push(len as u8),
                len @ 126..65536 => {
                    out.push(126);
                    out.extend_from_slice(&(len as u16).to_be_bytes());
                }
                len => {
                    out.push(127);
                    out.extend_from_slice(&(len as u64).to_be_bytes());
                }
            }
            out.extend_from_slice(payload);
        }
        Encoding::Sse => chunk(out, &[b"data: ", payload, b"\n\n"]),
        Encoding::Lines => chunk(out, &[payload, b"\n"]),
        Encoding::LongPoll => {
            out.extend_from_slice(payload);
            out.push(b'\n');
        }
    }
}

/// The answer to a poll.
pub(super) fn page(head: u64, lines: &[u8]) -> Vec<u8> {
    let mut page = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nBongsu-Cursor: {head}\r\n\r\n", lines.len()).into_bytes();
    page.extend_from_slice(lines);
    page
}

fn chunk(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    out.extend_from_slice(format!("{len:x}\r\n").as_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(b"\r\n");
}

fn would_block(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

const BACKLOG_BYTES_MAX: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_frame_is_unmasked_once_it_is_whole() {
        let mut bytes = vec![0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2, 0x81];
        assert!(unmask(&mut bytes[..7]).is_none());
        let frame = unmask(&mut bytes).expect("a whole frame");
        assert_eq!((frame.opcode, &bytes[frame.payload]), (1, b"hi".as_slice()));
    }

    #[test]
    fn the_request_chooses_encoding_and_channels() {
        let parse = |text: &str| Request::parse(text.as_bytes()).map(|(request, _)| (request.encoding, request.channels));
        assert_eq!(parse("GET /a HTTP/1.1\r\nHost: x\r\n"), None);
        assert_eq!(parse("GET /x/a HTTP/1.1\r\nSec-WebSocket-Key: k\r\n\r\n"), Some((Encoding::WebSocket, vec!["a".into()])));
        assert_eq!(parse("GET /a HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n"), Some((Encoding::Sse, vec!["a".into()])));
        let both = Some((Encoding::Lines, vec!["a".into(), "b".into()]));
        assert_eq!(
            parse("GET /a?wait=25&after=3 HTTP/1.1\r\nAccept: application/json\r\n\r\n"),
            Some((Encoding::LongPoll, vec!["a".into()]))
        );
        assert_eq!(parse("GET /s?channel=a&channel=b HTTP/1.1\r\n\r\n"), both);
    }

    #[test]
    fn each_encoding_frames_a_message() {
        let laid = |encoding| {
            let mut out = Vec::new();
            lay(encoding, b"hi", &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(laid(Encoding::Sse), "a\r\ndata: hi\n\n\r\n");
        assert_eq!(laid(Encoding::Lines), "3\r\nhi\n\r\n");
        let mut out = Vec::new();
        lay(Encoding::WebSocket, &[b'x'; 200], &mut out);
        assert_eq!(out[..4], [0x81, 126, 0, 200]);
    }
}
