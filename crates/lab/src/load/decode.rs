//! What comes back, cut into records: WebSocket frames, or lines in chunked coding. Quick rather than strict: suites check servers,
//! this only measures them.

use super::transport::Framing;

/// What one connection has received by half.
#[derive(Debug)]
pub(super) struct Decoder {
    framing: Framing,
    phase: Phase,
    /// Bytes of a head, a frame or a chunk's size that is not whole yet.
    held: Vec<u8>,
    /// A line that is not whole yet.
    line: Vec<u8>,
    /// Headers that the next request repeats: their names, and their values in the last answer.
    kept: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Frames,
    ChunkSize,
    /// So many bytes of the chunk are to come, its closing CRLF not counted.
    Chunk(usize),
    ChunkEnd,
    Identity,
    /// So many bytes of a poll's answer are to come.
    Page(usize),
    End,
}

/// What a connection brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// The response's head: it is open.
    Opened,
    /// A frame's payload, or a line of a stream or of a poll's answer.
    Data(&'a [u8]),
    /// The payload of a compressed message, which no other is needed to inflate.
    Compressed(&'a [u8]),
    /// The end of an answer, the headers that were to be kept of it, and whether there is more already.
    Answered { kept: &'a [(String, String)], more: bool },
    /// A WebSocket ping, to be answered with the same payload.
    Ping(&'a [u8]),
    /// The end, as the peer says it.
    Closed,
}

/// What the peer said wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// Neither 101 nor 200.
    #[error("the request was answered with {0}")]
    Refused(String),
    /// Bytes that are no HTTP response.
    #[error("not an HTTP response, or a chunk without a size")]
    NotHttp,
}

impl Decoder {
    /// For what begins with a response's head; of each, the headers of these names are kept.
    pub(super) fn new(framing: Framing, kept: &[String]) -> Self {
        let kept = kept.iter().map(|name| (name.clone(), String::new())).collect();
        Self { framing, phase: Phase::Head, held: Vec::new(), line: Vec::new(), kept }
    }

    /// Takes what was read and calls for each record that is whole now.
    pub(super) fn feed(&mut self, bytes: &[u8], record: &mut impl FnMut(Record<'_>)) -> Result<(), PeerFault> {
        if self.held.is_empty() {
            let used = self.take(bytes, record)?;
            self.held.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let used = self.take(&held, record)?;
        held.drain(..used);
        self.held = held;
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], record: &mut impl FnMut(Record<'_>)) -> Result<usize, PeerFault> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let step = match self.phase {
                Phase::Head => self.head(rest, record)?,
                Phase::Frames => frame(rest, record),
                Phase::ChunkSize => self.chunk_size(rest, record)?,
                Phase::Chunk(left) => {
                    let len = left.min(rest.len());
                    self.lines(&rest[..len], record);
                    self.phase = if len == left { Phase::ChunkEnd } else { Phase::Chunk(left - len) };
                    (len > 0).then_some(len)
                }
                Phase::ChunkEnd => (rest.len() >= 2).then(|| {
                    self.phase = Phase::ChunkSize;
                    2
                }),
                Phase::Identity => {
                    self.lines(rest, record);
                    (!rest.is_empty()).then_some(rest.len())
                }
                Phase::Page(left) => self.page(rest, left, record),
                Phase::End => return Ok(bytes.len()),
            };
            let Some(step) = step else { return Ok(used) };
            used += step;
        }
    }

    fn head(&mut self, bytes: &[u8], record: &mut impl FnMut(Record<'_>)) -> Result<Option<usize>, PeerFault> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(len) = response.parse(bytes).map_err(|_| PeerFault::NotHttp)? else { return Ok(None) };
        let code = response.code.unwrap_or_default();
        let wanted: &[u16] = match self.framing {
            Framing::Frames => &[101],
            Framing::Pages => &[200, 201, 202, 204, 304],
            Framing::Lines | Framing::Events => &[200],
        };
        if !wanted.contains(&code) {
            return Err(PeerFault::Refused(format!("{code} {}", response.reason.unwrap_or_default())));
        }
        let header = |name: &str| {
            let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            header.and_then(|header| std::str::from_utf8(header.value).ok())
        };
        let chunked = header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        for (name, value) in &mut self.kept {
            if let Some(new) = header(name) {
                value.clear();
                value.push_str(new);
            }
        }
        self.phase = match self.framing {
            Framing::Frames => Phase::Frames,
            Framing::Pages => Phase::Page(header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0)),
            _ if chunked => Phase::ChunkSize,
            _ => Phase::Identity,
        };
        if self.framing != Framing::Pages {
            record(Record::Opened);
        }
        Ok(Some(len))
    }

    /// A poll's answer is cut into lines once it is whole.
    fn page(&mut self, bytes: &[u8], left: usize, record: &mut impl FnMut(Record<'_>)) -> Option<usize> {
        let page = bytes.get(..left)?;
        page.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| record(Record::Data(line)));
        let end = &page[page.len().saturating_sub(PAGE_END_BYTES)..];
        record(Record::Answered { kept: &self.kept, more: memchr::memmem::find(end, MORE).is_some() });
        self.phase = Phase::Head;
        Some(left)
    }

    fn chunk_size(&mut self, bytes: &[u8], record: &mut impl FnMut(Record<'_>)) -> Result<Option<usize>, PeerFault> {
        let Some(end) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
        let digits = bytes[..end].split(|&byte| matches!(byte, b';' | b'\r')).next().unwrap_or_default();
        let size = std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok()).ok_or(PeerFault::NotHttp)?;
        self.phase = if size == 0 { Phase::End } else { Phase::Chunk(size) };
        if size == 0 {
            record(Record::Closed);
        }
        Ok(Some(end + 1))
    }

    fn lines(&mut self, mut bytes: &[u8], record: &mut impl FnMut(Record<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            if self.line.is_empty() {
                self.whole(&bytes[..end], record);
            } else {
                self.line.extend_from_slice(&bytes[..end]);
                let line = std::mem::take(&mut self.line);
                self.whole(&line, record);
            }
            bytes = &bytes[end + 1..];
        }
        self.line.extend_from_slice(bytes);
    }

    fn whole(&self, line: &[u8], record: &mut impl FnMut(Record<'_>)) {
        let data = match self.framing {
            Framing::Events => line.strip_prefix(b"data:").map(|data| data.strip_prefix(b" ").unwrap_or(data)),
            _ => Some(line),
        };
        data.into_iter().for_each(|data| record(Record::Data(data)));
    }
}

/// Takes the first frame, if it is whole; servers do not mask.
fn frame(bytes: &[u8], record: &mut impl FnMut(Record<'_>)) -> Option<usize> {
    let (&[first, second], _) = bytes.split_first_chunk()?;
    let (start, len): (usize, usize) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?),
        len => (2, usize::from(len)),
    };
    let end = start + len;
    let payload = bytes.get(start..end)?;
    match first & 0x0f {
        8 => record(Record::Closed),
        9 => record(Record::Ping(payload)),
        10 => (),
        _ if first & 0x40 != 0 => record(Record::Compressed(payload)),
        _ => record(Record::Data(payload)),
    }
    Some(end)
}

/// What a page of this project's server says, behind its publications, if the next is there already.
const MORE: &[u8] = br#""more":true"#;
const PAGE_END_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the reads' lengths, the records are the same.
    fn check(framing: Framing, bytes: &[u8], expected: &[&str]) {
        for len in [1, 2, 3, 7, bytes.len()] {
            let mut decoder = Decoder::new(framing, &["bongsu-cursor".to_owned()]);
            let mut records = Vec::new();
            for piece in bytes.chunks(len) {
                decoder
                    .feed(piece, &mut |record| {
                        records.push(match record {
                            Record::Opened => "opened".to_owned(),
                            Record::Data(data) => String::from_utf8_lossy(data).into_owned(),
                            Record::Compressed(data) => format!("compressed {}", data.len()),
                            Record::Ping(data) => format!("ping {}", String::from_utf8_lossy(data)),
                            Record::Answered { kept, more } => format!("answered {} {more}", kept[0].1),
                            Record::Closed => "closed".to_owned(),
                        })
                    })
                    .expect("a well-formed answer");
            }
            assert_eq!(records, expected, "in pieces of {len}");
        }
    }

    #[test]
    fn frames_are_cut_at_their_ends() {
        let bytes = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02hi\x89\x01p\x82\x03you\xc1\x02zz\x88\x00";
        check(Framing::Frames, bytes, &["opened", "hi", "ping p", "you", "compressed 2", "closed"]);
    }

    #[test]
    fn chunks_do_not_matter_to_lines() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let lines = format!("{head}4\r\na\nbc\r\n2;x=y\r\nd\n\r\n0\r\n\r\n");
        check(Framing::Lines, lines.as_bytes(), &["opened", "a", "bcd", "closed"]);
        let events = "HTTP/1.1 200 OK\r\n\r\nid: 1\ndata: hi\n\n: beat\ndata:you\n\n";
        check(Framing::Events, events.as_bytes(), &["opened", "hi", "you"]);
    }

    #[test]
    fn each_answer_to_a_poll_is_a_page() {
        let answers = "HTTP/1.1 200 OK\r\nBongsu-Cursor: e-2\r\nContent-Length: 4\r\n\r\na\nb\nHTTP/1.1 204 No Content\r\n\r\n";
        check(Framing::Pages, answers.as_bytes(), &["a", "b", "answered e-2 false", "answered e-2 false"]);
    }

    #[test]
    fn a_refusal_is_told() {
        let refused = Decoder::new(Framing::Events, &[]).feed(b"HTTP/1.1 406 Not Acceptable\r\n\r\n", &mut |_| ());
        assert_eq!(refused, Err(PeerFault::Refused("406 Not Acceptable".into())));
    }
}
