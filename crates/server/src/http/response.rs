//! An answer, as bytes. Heads are small and written in one go with the body, so that an answer is one write.

use std::fmt::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;

use super::unsent::Unsent;

/// An answer that has its whole body.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    head: BytesMut,
    body: Bytes,
    /// The body, where it is too long to be written in one go.
    page: Option<Box<Unsent>>,
    /// Bytes of a body that was taken out, and follows.
    later_bytes: usize,
    /// Whether a length is told: not with a 1xx, 204 or 304 (RFC 9110, 8.6).
    sized: bool,
}

impl Response {
    /// An answer without a body yet.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            head: status_line(status),
            body: Bytes::new(),
            page: None,
            later_bytes: 0,
            sized: status >= 200 && status != 204 && status != 304,
        }
    }

    /// The head of an answer that has no length: a stream, or an upgrade.
    pub fn stream(status: u16) -> Self {
        Self { sized: false, ..Self::new(status) }
    }

    /// Adds a header. Values come from this server or were checked: a line end in one is replaced, never sent.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        write_header(&mut self.head, name, value);
        self
    }

    /// Adds a header if there is a value.
    #[must_use]
    pub fn header_opt(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Adds to what the answer varies by. It stays one line: a cache may heed only one of several (nginx before 1.23 does).
    #[must_use]
    pub fn vary_also(mut self, names: Option<&str>) -> Self {
        let Some(names) = names else { return self };
        let line = memmem::find(&self.head, b"\r\nvary: ").map(|at| at + 2);
        let Some(end) = line.and_then(|line| Some(line + memmem::find(&self.head[line..], b"\r\n")?)) else {
            return self.header("vary", names);
        };
        let rest = self.head.split_off(end);
        self.head.put_slice(b", ");
        self.head.put_slice(names.as_bytes());
        self.head.put_slice(&rest);
        self
    }

    /// Gives it a body.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        write_header(&mut self.head, "content-type", content_type);
        // What is published is anybody's: no browser is to find a page or a script in it.
        write_header(&mut self.head, "x-content-type-options", "nosniff");
        self.body = body.into();
        self
    }

    /// Gives it a body that is written as it is taken.
    #[must_use]
    pub fn page(self, content_type: &str, page: Unsent) -> Self {
        Self { page: Some(Box::new(page)), ..self.body(content_type, Bytes::new()) }
    }

    /// Takes out the body, if it is to be sent as it is taken: one that is made then, or so long that a copy of it behind the head
    /// would cost more than it saves. What is left is the head, which still tells the whole length.
    pub fn take_long(&mut self) -> Option<Unsent> {
        let unsent = match self.page.take() {
            Some(page) => *page,
            None if self.body.len() > COPIED_BYTES_MAX => Unsent::whole(std::mem::take(&mut self.body)),
            None => return None,
        };
        self.later_bytes = unsent.body_bytes();
        Some(unsent)
    }

    /// How long the body is.
    pub fn body_len(&self) -> usize {
        self.body.len() + self.later_bytes + self.page.as_ref().map_or(0, |page| page.body_bytes())
    }

    /// The answer as it goes out; to a HEAD, without the body. Not for one whose body is written as it is taken.
    pub fn into_bytes(self, head_only: bool, keep_alive: bool) -> Bytes {
        let body = if head_only { Bytes::new() } else { self.body.clone() };
        let mut out = self.into_sized_head(keep_alive);
        out.put_slice(&body);
        out.freeze()
    }

    /// The head alone, which tells how long the body is.
    pub fn into_sized_head(mut self, keep_alive: bool) -> BytesMut {
        if self.sized {
            self.head.put_slice(b"content-length: ");
            self.head.put_slice(itoa::Buffer::new().format(self.body_len()).as_bytes());
            self.head.put_slice(b"\r\n");
        }
        if !keep_alive {
            self.head.put_slice(b"connection: close\r\n");
        }
        self.head.put_slice(b"\r\n");
        self.head
    }

    /// The answer for an HTTP/2 stream: its head, and its body; to a HEAD, none.
    pub fn into_http2(self, head_only: bool) -> (http::Response<()>, Bytes) {
        let len = self.body_len();
        let mut head = http::Response::new(());
        *head.status_mut() = http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        // The lines were written here, without a line end in any of them, so that they can be read off again.
        let lines = self.head[..].split(|&byte| byte == b'\n').skip(1).filter_map(|line| line.strip_suffix(b"\r"));
        for line in lines {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let name = http::HeaderName::from_bytes(&line[..colon]).ok().filter(|name| !is_of_connection(name));
            let value = http::HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok();
            if let (Some(name), Some(value)) = (name, value) {
                head.headers_mut().append(name, value);
            }
        }
        if self.sized {
            head.headers_mut().insert(http::header::CONTENT_LENGTH, len.into());
        }
        (head, if head_only { Bytes::new() } else { self.body })
    }

    /// The head of an answer whose body comes as it happens.
    pub fn into_head(mut self) -> BytesMut {
        self.head.put_slice(b"\r\n");
        self.head
    }
}

/// Appends one header line.
pub fn write_header(out: &mut BytesMut, name: &str, value: &str) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    if value.bytes().any(|byte| byte < 0x20 && byte != b'\t') {
        value.bytes().for_each(|byte| out.put_u8(if byte < 0x20 { b' ' } else { byte }));
    } else {
        out.put_slice(value.as_bytes());
    }
    out.put_slice(b"\r\n");
}

/// RFC 9113, 8.2.2: what concerns a connection of HTTP/1.1 has no place in HTTP/2.
fn is_of_connection(name: &http::HeaderName) -> bool {
    use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
    [CONNECTION, TRANSFER_ENCODING, UPGRADE].contains(name)
}

fn status_line(status: u16) -> BytesMut {
    let mut line = BytesMut::with_capacity(256);
    // Writing to memory cannot fail.
    _ = write!(line, "HTTP/1.1 {status} {}\r\n", reason(status));
    line
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Status")
}

/// Up to here a body is copied behind its head, so that both are one slice.
const COPIED_BYTES_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_the_same_in_both_versions() {
        let response = || Response::new(200).header("vary", "Accept").header("connection", "close").body("text/plain", "hi");
        let text = response().into_bytes(false, true);
        assert_eq!(
            &text[..],
            b"HTTP/1.1 200 OK\r\nvary: Accept\r\nconnection: close\r\ncontent-type: text/plain\r\nx-content-type-options: nosniff\r\ncontent-length: 2\r\n\r\nhi"
        );
        let (head, body) = response().into_http2(false);
        let headers: Vec<_> = head.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(
            headers,
            [("vary", &b"Accept"[..]), ("content-type", b"text/plain"), ("x-content-type-options", b"nosniff"), ("content-length", b"2")]
        );
        assert_eq!((head.status().as_u16(), &body[..]), (200, &b"hi"[..]));
        assert_eq!(response().into_http2(true).1, "");
    }

    #[test]
    fn varies_in_one_line() {
        let written = |response: Response| String::from_utf8_lossy(&response.into_head()).into_owned();
        let response = || Response::stream(200).header("vary", "Accept").header("etag", "x");
        assert_eq!(written(response().vary_also(Some("Origin"))), "HTTP/1.1 200 OK\r\nvary: Accept, Origin\r\netag: x\r\n\r\n");
        assert_eq!(written(response().vary_also(None)), written(response()));
        assert_eq!(written(Response::stream(204).vary_also(Some("Origin"))), "HTTP/1.1 204 No Content\r\nvary: Origin\r\n\r\n");
    }
}
