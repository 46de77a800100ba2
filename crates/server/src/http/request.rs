//! A request's head, read strictly: whatever two readers could understand in two ways is refused, never guessed.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;

/// The head of a request.
#[derive(Debug, Clone)]
pub struct Request {
    head: Bytes,
    method: Method,
    target: Range<u16>,
    headers: SmallVec<[Header; 12]>,
    /// Whether it is of HTTP/1.0: no chunks, and no connection kept unless asked.
    pub http10: bool,
    /// Whether the connection may serve another request.
    pub keep_alive: bool,
    /// How its body is delimited.
    pub body: BodyLength,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

#[derive(Debug, Clone)]
struct Header {
    name: Range<u16>,
    value: Range<u16>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Read, without the body.
    Head,
    /// Publish.
    Post,
    /// Ask what is possible.
    Options,
    /// Anything else; no resource here allows it.
    Other,
}

/// How a request's body is delimited (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// So many bytes, perhaps none.
    Known(u64),
    /// By chunks.
    Chunked,
}

/// The bounds on a head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes of the request line with its headers.
    pub bytes_max: usize,
    /// How many headers.
    pub headers_max: usize,
}

/// Why a head was refused. The connection ends with it: what follows cannot be told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// Longer than the bound.
    #[error("the request's head is longer than {max} bytes; send fewer or shorter headers")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// More headers than the bound.
    #[error("the request has more than {max} headers; send fewer")]
    TooManyHeaders {
        /// The bound.
        max: usize,
    },
    /// A carriage return without its line feed, or the other way round.
    #[error("a line of the request's head does not end in CR LF")]
    BareLineEnd,
    /// A header continued on the next line (RFC 9112, 5.2).
    #[error("a header is folded over lines, which is obsolete and ambiguous; send it on one line")]
    ObsoleteFolding,
    /// Not a request at all.
    #[error("this is not an HTTP/1.1 request: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
    /// HTTP of another major version.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    /// No `Host`, or several, in HTTP/1.1.
    #[error("the request must have exactly one Host header")]
    Host,
    /// More than one statement of the body's length (RFC 9112, 6.3).
    #[error("the request states its length more than once; send one Content-Length, or Transfer-Encoding: chunked, not both")]
    AmbiguousLength,
    /// A length that is no number.
    #[error("Content-Length must be a decimal number of bytes")]
    BadLength,
    /// A transfer coding other than `chunked`.
    #[error("the only transfer coding known here is chunked")]
    TransferCoding,
    /// An expectation other than `100-continue`.
    #[error("the only expectation known here is 100-continue")]
    Expectation,
}

impl Request {
    /// Reads a head from the front of `input`, once it is there whole.
    pub fn parse(input: &mut BytesMut, limits: HeadLimits) -> Result<Option<Self>, HeadFault> {
        // RFC 9112, 2.2: empty lines before the request line are passed over.
        while input.starts_with(b"\r\n") {
            input.advance(2);
        }
        let Some(end) = find_end(input, limits)? else { return Ok(None) };
        let head = input.split_to(end).freeze();
        read(head, limits).map(Some)
    }

    /// What is asked for.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The target as it was sent.
    pub fn target(&self) -> &str {
        self.text(&self.target)
    }

    /// The first header of this name.
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.header_all(name).next()
    }

    /// All headers of this name, in order.
    pub fn header_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |header| self.text(&header.name).eq_ignore_ascii_case(name)).map(|header| self.text(&header.value))
    }

    /// Whether a header that is a list of words has this one.
    pub fn header_has(&self, name: &str, word: &str) -> bool {
        self.header_all(name).flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
    }

    /// The same request in memory of its own, to be kept while its body arrives: a head fresh from the wire still shares the
    /// worker's read buffer.
    pub fn detach(self) -> Self {
        Self { head: Bytes::copy_from_slice(&self.head), ..self }
    }

    fn text(&self, range: &Range<u16>) -> &str {
        std::str::from_utf8(&self.head[usize::from(range.start)..usize::from(range.end)]).unwrap_or_default()
    }
}

/// Where the head ends, after checking every line end in it.
fn find_end(input: &[u8], limits: HeadLimits) -> Result<Option<usize>, HeadFault> {
    let bytes_max = limits.bytes_max.min(usize::from(u16::MAX));
    let seen = &input[..input.len().min(bytes_max + 1)];
    let mut line = 0;
    for at in memchr::memchr2_iter(b'\r', b'\n', seen) {
        match (seen[at], seen.get(at + 1)) {
            (b'\r', None | Some(b'\n')) => continue,
            (b'\n', _) if at > 0 && seen[at - 1] == b'\r' => (),
            _ => return Err(HeadFault::BareLineEnd),
        }
        if at == line + 1 {
            return if at < bytes_max { Ok(Some(at + 1)) } else { Err(HeadFault::TooLong { max: limits.bytes_max }) };
        }
        if line > 0 && matches!(seen[line], b' ' | b'\t') {
            return Err(HeadFault::ObsoleteFolding);
        }
        line = at + 1;
    }
    if input.len() > bytes_max { Err(HeadFault::TooLong { max: limits.bytes_max }) } else { Ok(None) }
}

fn read(head: Bytes, limits: HeadLimits) -> Result<Request, HeadFault> {
    let mut storage: SmallVec<[httparse::Header<'_>; 64]> = SmallVec::new();
    storage.resize(limits.headers_max.max(1), httparse::EMPTY_HEADER);
    let mut parsed = httparse::Request::new(&mut storage);
    parsed.parse(&head).map_err(|error| match error {
        httparse::Error::TooManyHeaders => HeadFault::TooManyHeaders { max: limits.headers_max },
        httparse::Error::Version => HeadFault::Version,
        error => HeadFault::Malformed { reason: error.to_string() },
    })?;
    let within = |text: &[u8]| {
        // Both lie within the head, which is shorter than 64 KiB.
        let start = (text.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize) as u16;
        start..start + text.len() as u16
    };
    let target = within(parsed.path.unwrap_or_default().as_bytes());
    let method = method_of(parsed.method.unwrap_or_default());
    let http10 = parsed.version == Some(0);
    let mut headers = SmallVec::new();
    for header in parsed.headers.iter() {
        if std::str::from_utf8(header.value).is_err() {
            return Err(HeadFault::Malformed { reason: format!("the value of {} is not UTF-8", header.name) });
        }
        headers.push(Header { name: within(header.name.as_bytes()), value: within(header.value) });
    }
    let mut request = Request {
        head: head.clone(),
        method,
        target,
        headers,
        http10,
        keep_alive: false,
        body: BodyLength::Known(0),
        expects_continue: false,
    };
    let hosts = request.header_all("host").count();
    if hosts > 1 || (hosts == 0 && !http10) {
        return Err(HeadFault::Host);
    }
    request.body = body_length(&request)?;
    request.keep_alive = keeps_alive(&request);
    request.expects_continue = expects_continue(&request)?;
    Ok(request)
}

fn method_of(text: &str) -> Method {
    match text {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "OPTIONS" => Method::Options,
        _ => Method::Other,
    }
}

/// RFC 9112, 6.1 and 6.3. Where it lets a server choose between repairing and refusing, we refuse.
fn body_length(request: &Request) -> Result<BodyLength, HeadFault> {
    let mut lengths = request.header_all("content-length");
    let mut codings = request.header_all("transfer-encoding");
    match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
        (None, _, None, _) => Ok(BodyLength::Known(0)),
        (Some(length), None, None, _) => {
            let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            length.parse().ok().filter(|_| digits).map(BodyLength::Known).ok_or(HeadFault::BadLength)
        }
        (None, _, Some(coding), None) => match coding.trim().eq_ignore_ascii_case("chunked") {
            _ if request.http10 => Err(HeadFault::AmbiguousLength),
            true => Ok(BodyLength::Chunked),
            false => Err(HeadFault::TransferCoding),
        },
        _ => Err(HeadFault::AmbiguousLength),
    }
}

/// HTTP/1.0 has no agreed way to keep a connection.
fn keeps_alive(request: &Request) -> bool {
    !request.http10 && !request.header_has("connection", "close")
}

fn expects_continue(request: &Request) -> Result<bool, HeadFault> {
    match request.header("expect") {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case("100-continue") => Ok(!request.http10),
        Some(_) => Err(HeadFault::Expectation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 200, headers_max: 4 };

    fn parse(text: &str) -> Result<Option<Request>, HeadFault> {
        Request::parse(&mut BytesMut::from(text), LIMITS)
    }

    #[test]
    fn reads_a_head_and_leaves_what_follows() {
        let mut input = BytesMut::from("\r\nPOST /a?b HTTP/1.1\r\nhost: x\r\nContent-Length: 3\r\n\r\nabc");
        let request = Request::parse(&mut input, LIMITS).expect("well formed").expect("whole");
        assert_eq!((request.method(), request.target(), request.body), (Method::Post, "/a?b", BodyLength::Known(3)));
        assert_eq!((request.header("HOST"), request.header("nope"), request.keep_alive), (Some("x"), None, true));
        assert_eq!(&input[..], b"abc");
    }

    #[test]
    fn waits_for_the_end_at_every_cut() {
        let whole = "GET / HTTP/1.1\r\nhost: x\r\na: b\r\n\r\n";
        for cut in 0..whole.len() {
            assert!(matches!(parse(&whole[..cut]), Ok(None)), "{cut}");
        }
        assert!(matches!(parse(whole), Ok(Some(_))));
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        use HeadFault::*;
        for (head, fault) in [
            ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", AmbiguousLength),
            ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", AmbiguousLength),
            ("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", AmbiguousLength),
            ("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n", TransferCoding),
            ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", AmbiguousLength),
            ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1, 1\r\n\r\n", BadLength),
            ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: +1\r\n\r\n", BadLength),
            ("GET / HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n", ObsoleteFolding),
            ("GET / HTTP/1.1\nhost: x\n\n", BareLineEnd),
            ("GET / HTTP/1.1\r\nhost: x\r\na: b\rc\r\n\r\n", BareLineEnd),
            ("GET / HTTP/1.1\r\n\r\n", Host),
            ("GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n", Host),
            ("GET / HTTP/1.1\r\nhost: x\r\nexpect: tea\r\n\r\n", Expectation),
            ("GET / HTTP/2.0\r\nhost: x\r\n\r\n", Version),
            ("GET / HTTP/1.1\r\nhost: x\r\na:1\r\nb:1\r\nc:1\r\nd:1\r\n\r\n", TooManyHeaders { max: 4 }),
        ] {
            assert_eq!(parse(head).map(drop), Err(fault), "{head:?}");
        }
        assert!(matches!(parse("GET / HTTP/1.1\r\nhost : x\r\n\r\n"), Err(Malformed { .. })));
        assert!(matches!(parse("nonsense\r\n\r\n"), Err(Malformed { .. })));
    }

    #[test]
    fn a_head_that_never_ends_is_cut_off() {
        assert!(matches!(parse(&format!("GET / HTTP/1.1\r\nhost: {}", "x".repeat(300))), Err(HeadFault::TooLong { max: 200 })));
        assert!(matches!(parse(&"x".repeat(150)), Ok(None)));
    }
}
