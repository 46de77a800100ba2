//! A request's body, gathered up to a bound. Chunks are decoded as strictly as heads are read (RFC 9112, 7.1).

use bytes::{Buf, Bytes, BytesMut};

use super::request::BodyLength;

/// A body on its way in.
#[derive(Debug)]
pub struct Body {
    gathered: BytesMut,
    bytes_max: usize,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Known(u64),
    ChunkHead,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    Stream,
    Done,
}

/// Why a body was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// More bytes than the bound.
    #[error("the body is larger than {max} bytes, the bound here")]
    TooLarge {
        /// The bound.
        max: usize,
    },
    /// A chunk's size, end or trailer that breaks the grammar.
    #[error("the chunked body is malformed: {what}")]
    BadChunk {
        /// What is wrong.
        what: &'static str,
    },
}

impl Body {
    /// A body that is yet to come. A known length over the bound is refused before a byte of it is read.
    pub fn new(length: BodyLength, bytes_max: usize) -> Result<Self, BodyFault> {
        let state = match length {
            BodyLength::Known(length) if length > bytes_max as u64 => return Err(BodyFault::TooLarge { max: bytes_max }),
            BodyLength::Known(0) => State::Done,
            BodyLength::Known(length) => State::Known(length),
            BodyLength::Chunked => State::ChunkHead,
            BodyLength::Stream(Some(length)) if length > bytes_max as u64 => return Err(BodyFault::TooLarge { max: bytes_max }),
            BodyLength::Stream(_) => State::Stream,
        };
        Ok(Self { gathered: BytesMut::new(), bytes_max, state })
    }

    /// Takes what belongs to the body off the front of `input`; returns it once it is whole.
    pub fn take(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, BodyFault> {
        loop {
            match self.state {
                State::Done => return Ok(Some(std::mem::take(&mut self.gathered).freeze())),
                State::Known(left) => {
                    let left = self.gather(input, left);
                    if left > 0 {
                        self.state = State::Known(left);
                        return Ok(None);
                    }
                    self.state = State::Done;
                }
                State::Stream => {
                    if self.gathered.len() + input.len() > self.bytes_max {
                        return Err(BodyFault::TooLarge { max: self.bytes_max });
                    }
                    self.gather(input, input.len() as u64);
                    return Ok(None);
                }
                State::ChunkHead => {
                    let Some(line) = take_line(input)? else { return Ok(None) };
                    self.state = self.chunk_of(&line)?;
                }
                State::Chunk(left) => {
                    let left = self.gather(input, left);
                    self.state = if left > 0 { State::Chunk(left) } else { State::ChunkEnd };
                    if left > 0 {
                        return Ok(None);
                    }
                }
                State::ChunkEnd => {
                    let Some(end) = input.get(..2) else { return Ok(None) };
                    if end != b"\r\n" {
                        return Err(BodyFault::BadChunk { what: "a chunk is longer than its size says" });
                    }
                    input.advance(2);
                    self.state = State::ChunkHead;
                }
                State::Trailer => {
                    let Some(line) = take_line(input)? else { return Ok(None) };
                    // Trailers have no meaning here and are passed over.
                    self.state = if line.is_empty() { State::Done } else { State::Trailer };
                }
            }
        }
    }

    /// How many bytes of it have come.
    pub fn gathered_bytes(&self) -> usize {
        self.gathered.len()
    }

    /// How many bytes of memory it takes.
    pub fn capacity_held(&self) -> usize {
        self.gathered.capacity()
    }

    /// No more will come: what a stream brought so far is its whole body.
    pub fn end(&mut self) {
        if let State::Stream = self.state {
            self.state = State::Done;
        }
    }

    fn gather(&mut self, input: &mut BytesMut, left: u64) -> u64 {
        let count = left.min(input.len() as u64) as usize;
        self.gathered.extend_from_slice(&input[..count]);
        input.advance(count);
        left - count as u64
    }

    fn chunk_of(&self, line: &[u8]) -> Result<State, BodyFault> {
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
        let digits = digits.trim_ascii_end();
        let hex = !digits.is_empty() && digits.len() <= 15 && digits.iter().all(u8::is_ascii_hexdigit);
        let size = std::str::from_utf8(digits).ok().filter(|_| hex).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        match size {
            None => Err(BodyFault::BadChunk { what: "a chunk's size is not hexadecimal" }),
            Some(0) => Ok(State::Trailer),
            Some(size) if self.gathered.len() as u64 + size > self.bytes_max as u64 => Err(BodyFault::TooLarge { max: self.bytes_max }),
            Some(size) => Ok(State::Chunk(size)),
        }
    }
}

/// A line that ends in CR LF, without its end. Lines that hold either elsewhere, or are too long, are refused, in whatever pieces
/// they come.
fn take_line(input: &mut BytesMut) -> Result<Option<Bytes>, BodyFault> {
    let seen = &input[..input.len().min(CHUNK_LINE_BYTES_MAX + 1)];
    match memchr::memchr2(b'\r', b'\n', seen) {
        Some(at) if input[at] == b'\n' => Err(BodyFault::BadChunk { what: "a line ends without CR" }),
        Some(at) => match input.get(at + 1) {
            None => Ok(None),
            Some(b'\n') => {
                let line = input.split_to(at).freeze();
                input.advance(2);
                Ok(Some(line))
            }
            Some(_) => Err(BodyFault::BadChunk { what: "a CR without LF" }),
        },
        None if seen.len() > CHUNK_LINE_BYTES_MAX => Err(BodyFault::BadChunk { what: "a chunk's head is too long" }),
        None => Ok(None),
    }
}

const CHUNK_LINE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn take(body: &mut Body, input: &str) -> (Result<Option<Bytes>, BodyFault>, String) {
        let mut input = BytesMut::from(input);
        let taken = body.take(&mut input);
        (taken, String::from_utf8_lossy(&input).into_owned())
    }

    #[test]
    fn a_known_length_takes_its_own_and_no_more() {
        let mut body = Body::new(BodyLength::Known(5), 10).expect("within the bound");
        assert_eq!(take(&mut body, "abc"), (Ok(None), String::new()));
        assert_eq!(take(&mut body, "deGET"), (Ok(Some("abcde".into())), "GET".to_owned()));
    }

    #[test]
    fn chunks_are_joined_at_every_cut() {
        let whole = "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: r\r\n\r\nGET";
        for cut in 0..whole.len() {
            let mut body = Body::new(BodyLength::Chunked, 10).expect("within the bound");
            let mut input = BytesMut::from(&whole[..cut]);
            let first = body.take(&mut input).expect("well formed");
            input.extend_from_slice(&whole.as_bytes()[cut..]);
            let taken = first.or_else(|| body.take(&mut input).expect("well formed"));
            assert_eq!((taken, &input[..]), (Some("abcde".into()), &b"GET"[..]), "{cut}");
        }
    }

    #[test]
    fn too_much_is_refused_before_it_is_read() {
        assert_eq!(Body::new(BodyLength::Known(11), 10).err(), Some(BodyFault::TooLarge { max: 10 }));
        let mut body = Body::new(BodyLength::Chunked, 10).expect("within the bound");
        assert_eq!(take(&mut body, "b\r\n").0, Err(BodyFault::TooLarge { max: 10 }));
    }

    #[test]
    fn a_stream_is_whole_when_it_ends() {
        let mut body = Body::new(BodyLength::Stream(None), 5).expect("within the bound");
        assert_eq!(take(&mut body, "abc"), (Ok(None), String::new()));
        assert_eq!(take(&mut body, "de").0, Ok(None));
        body.end();
        assert_eq!(take(&mut body, "").0, Ok(Some("abcde".into())));
        assert_eq!(Body::new(BodyLength::Stream(Some(6)), 5).err(), Some(BodyFault::TooLarge { max: 5 }));
        let mut body = Body::new(BodyLength::Stream(None), 5).expect("within the bound");
        assert_eq!(take(&mut body, "abcdef").0, Err(BodyFault::TooLarge { max: 5 }));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for input in ["x\r\n", "\r\n", "-1\r\n", "1\nabc", "1\rx", "1\r\nab\r\n", "fffffffffffffffff\r\n", "0x1\r\na\r\n"] {
            let mut body = Body::new(BodyLength::Chunked, 10).expect("within the bound");
            assert!(matches!(take(&mut body, input).0, Err(BodyFault::BadChunk { .. })), "{input:?}");
        }
    }
}
