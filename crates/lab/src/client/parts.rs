//! `multipart/mixed`, read as RFC 2046 says, with `Content-Length` where a part gives it. Pure.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;

use super::fault::ClientFault;

/// A part: its headers and its very bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The part's headers.
    pub headers: HeaderMap,
    /// What follows them.
    pub body: Bytes,
}

/// Reads parts from chunks of any size.
#[derive(Debug)]
pub struct Parser {
    delimiter: Vec<u8>,
    buffer: BytesMut,
    place: Place,
    part_bytes_max: usize,
}

#[derive(Debug)]
enum Place {
    /// Before the first delimiter, or right after a part.
    Between,
    /// In a part's headers.
    Head,
    /// In a part's body.
    Body { headers: HeaderMap, length: Option<usize>, searched: usize },
    /// After the last delimiter.
    End,
}

impl Parser {
    /// A parser for the boundary that the answer's media type names.
    pub fn new(content_type: &str, part_bytes_max: usize) -> Result<Self, ClientFault> {
        let parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='));
        let mut boundaries = parameters.filter(|(name, _)| name.eq_ignore_ascii_case("boundary"));
        let (_, boundary) = boundaries.next().ok_or_else(|| ClientFault::contract("multipart without a boundary"))?;
        let delimiter = format!("--{}", boundary.trim_matches('"')).into_bytes();
        Ok(Self { delimiter, buffer: BytesMut::new(), place: Place::Between, part_bytes_max })
    }

    /// Adds what has arrived.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Whether the closing delimiter has come.
    pub fn has_ended(&self) -> bool {
        matches!(self.place, Place::End)
    }

    /// The next part, once it is whole.
    pub fn take(&mut self) -> Result<Option<Part>, ClientFault> {
        loop {
            let went_on = match &mut self.place {
                Place::Between => self.take_delimiter()?,
                Place::Head => self.take_head()?,
                Place::Body { .. } => {
                    if let Some(part) = self.take_body()? {
                        return Ok(Some(part));
                    }
                    false
                }
                Place::End => {
                    // RFC 2046, 5.1.1: what follows the last delimiter is passed over.
                    self.buffer.clear();
                    return Ok(None);
                }
            };
            if !went_on {
                // What is not there whole is longer than what there is.
                return self.check_length(self.buffer.len() + 1).map(|()| None);
            }
        }
    }

    /// Refuses what is too long, in whatever pieces it came.
    fn check_length(&self, bytes: usize) -> Result<(), ClientFault> {
        if bytes > self.part_bytes_max { Err(ClientFault::contract("a part without end")) } else { Ok(()) }
    }

    /// Reads up to the end of a delimiter's line.
    fn take_delimiter(&mut self) -> Result<bool, ClientFault> {
        let Some(end) = memchr::memchr(b'\n', &self.buffer) else { return Ok(false) };
        self.check_length(end + 1)?;
        let line = self.buffer.split_to(end + 1);
        let line = line.trim_ascii_end();
        if line.strip_suffix(b"--") == Some(&self.delimiter) {
            self.place = Place::End;
        } else if line == self.delimiter {
            self.place = Place::Head;
        } else if !line.is_empty() {
            return Err(ClientFault::contract("something other than a delimiter between two parts"));
        }
        Ok(true)
    }

    fn take_head(&mut self) -> Result<bool, ClientFault> {
        // A part without headers begins with the empty line.
        let end = if self.buffer.starts_with(b"\r\n") { Some(2) } else { memmem::find(&self.buffer, b"\r\n\r\n").map(|end| end + 4) };
        let Some(end) = end else { return Ok(false) };
        self.check_length(end)?;
        let head = self.buffer.split_to(end).freeze();
        let mut headers = HeaderMap::new();
        for line in head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
            let colon = memchr::memchr(b':', line).ok_or_else(|| ClientFault::contract("a part's header without a colon"))?;
            let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| ClientFault::contract("a part's header without a name"))?;
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(|_| ClientFault::contract("a part's header"))?;
            headers.append(name, value);
        }
        let length = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.place = Place::Body { headers, length, searched: 0 };
        Ok(true)
    }

    fn take_body(&mut self) -> Result<Option<Part>, ClientFault> {
        let Place::Body { headers, length, searched } = &mut self.place else { return Ok(None) };
        let (end, needed) = match *length {
            Some(length) if self.buffer.len() < length => return Ok(None),
            Some(length) => (length, length),
            None => {
                // RFC 2046, 5.1.1: the line end before a delimiter belongs to the delimiter.
                let delimiter = [b"\r\n", self.delimiter.as_slice()].concat();
                let Some(at) = memmem::find(&self.buffer[*searched..], &delimiter) else {
                    *searched = self.buffer.len().saturating_sub(delimiter.len());
                    return Ok(None);
                };
                (*searched + at, *searched + at + delimiter.len())
            }
        };
        let headers = std::mem::take(headers);
        self.check_length(needed)?;
        self.place = Place::Between;
        Ok(Some(Part { headers, body: self.buffer.split_to(end).freeze() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPE: &str = "multipart/mixed; boundary=\"b\"";

    type Parsed = (Option<String>, Vec<u8>);

    fn parse(text: &[u8], size: usize) -> (Vec<Parsed>, bool) {
        let (mut parser, mut parts) = (Parser::new(TYPE, 1 << 10).expect("a boundary"), Vec::new());
        for chunk in text.chunks(size) {
            parser.push(chunk);
            while let Some(part) = parser.take().expect("well formed") {
                let kind = part.headers.get("content-type").map(|kind| kind.to_str().expect("ASCII").to_owned());
                parts.push((kind, part.body.to_vec()));
            }
        }
        (parts, parser.has_ended())
    }

    #[test]
    fn parts_come_whole_from_any_chunks() {
        let text = b"--b\r\nContent-Type: a/b\r\nContent-Length: 7\r\n\r\n\r\n--b\r\n\r\n--b\r\n\r\nx\r\n\r\n--b--\r\n";
        let expected = vec![(Some("a/b".to_owned()), b"\r\n--b\r\n".to_vec()), (None, b"x\r\n".to_vec())];
        for size in 1..=text.len() {
            assert_eq!(parse(text, size), (expected.clone(), true), "chunks of {size}");
        }
    }

    #[test]
    fn what_is_no_part_is_a_fault() {
        for text in [&b"oops\r\n"[..], b"--b\r\nno colon\r\n\r\n", &[b'x'; 2_000]] {
            let mut parser = Parser::new(TYPE, 1 << 10).expect("a boundary");
            parser.push(text);
            assert!(parser.take().is_err());
        }
        assert!(Parser::new("multipart/mixed", 1).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in prop::collection::vec(prop::sample::select(b"--b\r\n:x 1".to_vec()), 0..64), size in 1usize..9) {
            let mut parser = Parser::new(TYPE, 1 << 10).expect("a boundary");
            for chunk in text.chunks(size) {
                parser.push(chunk);
                while let Ok(Some(_)) = parser.take() {}
            }
        }
    }
}
