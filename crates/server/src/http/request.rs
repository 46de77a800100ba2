//! A request's head, read strictly: whatever two readers could understand in two ways is refused, never guessed.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use smallvec::SmallVec;

use super::text::items;

/// The head of a request.
#[derive(Debug, Clone)]
pub struct Request {
    head: ByteString,
    method: Method,
    target: Range<u16>,
    headers: Headers,
    /// The version it came in.
    pub version: Version,
    /// Whether the connection may serve another request.
    pub keep_alive: bool,
    /// How its body is delimited.
    pub body: BodyLength,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether it opens a WebSocket over an HTTP/2 stream (RFC 8441): an extended CONNECT, which is read as a GET.
    pub tunnel: bool,
}

/// The versions of HTTP, as far as answers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// No chunks, and no connection kept unless asked.
    Http10,
    /// A connection serves one request after the other.
    Http11,
    /// A request is a stream of a connection, and ends with its answer.
    Http2,
}

/// Where the headers stand in the head.
#[derive(Debug, Clone, Default)]
struct Headers {
    all: SmallVec<[Header; 12]>,
    /// A bit for each name: most headers that are asked for are not there, and this tells so at once.
    seen: u64,
}

#[derive(Debug, Clone)]
struct Header {
    name: Range<u16>,
    value: Range<u16>,
}

impl Headers {
    fn push(&mut self, name: &str, header: Header) {
        self.seen |= bit_of(name);
        self.all.push(header);
    }

    /// Those among which ones of this name are, if there are any.
    fn perhaps(&self, name: &str) -> &[Header] {
        if self.seen & bit_of(name) == 0 { &[] } else { &self.all }
    }
}

/// A bit that different names seldom share, however they are written.
#[inline]
fn bit_of(name: &str) -> u64 {
    let letter = |byte: Option<&u8>| usize::from(byte.map_or(0, u8::to_ascii_lowercase));
    let bytes = name.as_bytes();
    1 << ((bytes.len() + 5 * letter(bytes.first()) + 11 * letter(bytes.last())) % 64)
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
    /// By the end of its HTTP/2 stream; perhaps its length was told before.
    Stream(Option<u64>),
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
    #[error("only HTTP/1.0, HTTP/1.1 and, with its preface, HTTP/2 are spoken here")]
    Version,
    /// No `Host`, or several, or one beside an `:authority` that says something else (RFC 9113, 8.3.1).
    #[error("the request must have exactly one Host header, in HTTP/2 an :authority")]
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
    /// An extended CONNECT for something other than a WebSocket (RFC 8441, 4).
    #[error("the only :protocol known here is websocket")]
    Protocol,
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

    /// Takes the head of an HTTP/2 stream. `ended` says that no body follows.
    ///
    /// It is written down in the form of a head from the wire, so that whoever reads a request knows one kind only.
    pub fn from_http2(parts: &http::request::Parts, ended: bool, limits: HeadLimits) -> Result<Self, HeadFault> {
        let protocol = parts.extensions.get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str);
        let tunnel = match (&parts.method, protocol) {
            (&http::Method::CONNECT, Some(protocol)) if protocol.eq_ignore_ascii_case("websocket") => true,
            (_, Some(_)) => return Err(HeadFault::Protocol),
            (_, None) => false,
        };
        let mut head = Writing { text: String::new(), headers: Headers::default(), limits };
        let target = head.write(parts.uri.path_and_query().map_or("/", |target| target.as_str()))?;
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        if let Some(authority) = authority {
            head.header("host", authority.as_bytes())?;
        }
        for (name, value) in &parts.headers {
            // RFC 9113, 8.3.1: a Host that differs from the authority makes the request malformed; one that does not says nothing.
            match (name == http::header::HOST, authority) {
                (true, Some(authority)) if value.as_bytes() != authority.as_bytes() => return Err(HeadFault::Host),
                (true, Some(_)) => (),
                _ => head.header(name.as_str(), value.as_bytes())?,
            }
        }
        let Writing { text, headers, .. } = head;
        let mut request = Self {
            head: text.into(),
            method: if tunnel { Method::Get } else { method_of(parts.method.as_str()) },
            target,
            headers,
            version: Version::Http2,
            keep_alive: false,
            body: BodyLength::Known(0),
            expects_continue: false,
            tunnel,
        };
        if request.header_all("host").count() != 1 {
            return Err(HeadFault::Host);
        }
        request.body = match body_length(&request)? {
            _ if ended || tunnel => BodyLength::Known(0),
            BodyLength::Known(length) if request.header("content-length").is_some() => BodyLength::Stream(Some(length)),
            _ => BodyLength::Stream(None),
        };
        request.expects_continue = expects_continue(&request)?;
        Ok(request)
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
        let is_it = move |header: &&Header| self.text(&header.name).eq_ignore_ascii_case(name);
        self.headers.perhaps(name).iter().filter(is_it).map(|header| self.text(&header.value))
    }

    /// What a header lists, in all places where it stands (RFC 9110, 5.6.1).
    pub fn header_items<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.header_all(name).flat_map(items)
    }

    /// Whether a header that is a list of words has this one.
    pub fn header_has(&self, name: &str, word: &str) -> bool {
        self.header_items(name).any(|item| item.eq_ignore_ascii_case(word))
    }

    /// Whether it asks for a WebSocket, in the way of its version.
    pub fn asks_websocket(&self) -> bool {
        self.tunnel || self.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
    }

    /// The same request in memory of its own, to be kept while its body arrives: a head fresh from the wire still shares the
    /// worker's read buffer.
    pub fn detach(self) -> Self {
        Self { head: (&*self.head).into(), ..self }
    }

    fn text(&self, range: &Range<u16>) -> &str {
        &self.head[usize::from(range.start)..usize::from(range.end)]
    }
}

/// A head that is being written down.
struct Writing {
    text: String,
    headers: Headers,
    limits: HeadLimits,
}

impl Writing {
    fn header(&mut self, name: &str, value: &[u8]) -> Result<(), HeadFault> {
        if self.headers.all.len() >= self.limits.headers_max {
            return Err(HeadFault::TooManyHeaders { max: self.limits.headers_max });
        }
        let value = std::str::from_utf8(value).map_err(|_| not_utf8(name))?;
        let header = Header { name: self.write(name)?, value: self.write(value)? };
        self.headers.push(name, header);
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<Range<u16>, HeadFault> {
        let start = self.text.len();
        let end = start + text.len();
        if end > self.limits.bytes_max.min(usize::from(u16::MAX)) {
            return Err(HeadFault::TooLong { max: self.limits.bytes_max });
        }
        self.text.push_str(text);
        // Both lie below the bound of 64 KiB.
        Ok(start as u16..end as u16)
    }
}

/// Where the head ends, after checking every line end in it. A carriage return elsewhere is found by the parser.
fn find_end(input: &[u8], limits: HeadLimits) -> Result<Option<usize>, HeadFault> {
    let bytes_max = limits.bytes_max.min(usize::from(u16::MAX));
    let seen = &input[..input.len().min(bytes_max + 1)];
    let mut line = 0;
    for at in memchr::memchr_iter(b'\n', seen) {
        if at == 0 || seen[at - 1] != b'\r' {
            return Err(HeadFault::BareLineEnd);
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
    // Room for all that may come is not made before it is needed: most requests have few headers.
    match read_into(&mut [httparse::EMPTY_HEADER; FEW_HEADERS][..limits.headers_max.min(FEW_HEADERS)], &head, limits) {
        Err(HeadFault::TooManyHeaders { .. }) if limits.headers_max > FEW_HEADERS => {
            read_into(&mut vec![httparse::EMPTY_HEADER; limits.headers_max], &head, limits)
        }
        read => read,
    }
}

fn read_into<'head>(storage: &mut [httparse::Header<'head>], head: &'head Bytes, limits: HeadLimits) -> Result<Request, HeadFault> {
    let mut parsed = httparse::Request::new(storage);
    parsed.parse(head).map_err(|error| match error {
        httparse::Error::TooManyHeaders => HeadFault::TooManyHeaders { max: limits.headers_max },
        httparse::Error::Version => HeadFault::Version,
        _ if has_bare_return(head) => HeadFault::BareLineEnd,
        error => HeadFault::Malformed { reason: error.to_string() },
    })?;
    let within = |text: &[u8]| {
        // Both lie within the head, which is shorter than 64 KiB.
        let start = (text.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize) as u16;
        start..start + text.len() as u16
    };
    let target = within(parsed.path.unwrap_or_default().as_bytes());
    let method = method_of(parsed.method.unwrap_or_default());
    let version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let mut headers = Headers::default();
    for header in parsed.headers.iter() {
        headers.push(header.name, Header { name: within(header.name.as_bytes()), value: within(header.value) });
    }
    let head = ByteString::try_from(head.clone()).map_err(|_| {
        // All else is ASCII, or the parser would have refused it.
        let strange = parsed.headers.iter().find(|header| std::str::from_utf8(header.value).is_err());
        not_utf8(strange.map_or("the target", |header| header.name))
    })?;
    let mut request = Request {
        head,
        method,
        target,
        headers,
        version,
        keep_alive: false,
        body: BodyLength::Known(0),
        expects_continue: false,
        tunnel: false,
    };
    let hosts = request.header_all("host").count();
    if hosts > 1 || (hosts == 0 && version != Version::Http10) {
        return Err(HeadFault::Host);
    }
    request.body = body_length(&request)?;
    request.keep_alive = keeps_alive(&request);
    request.expects_continue = expects_continue(&request)?;
    Ok(request)
}

fn has_bare_return(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\r', head).any(|at| head.get(at + 1) != Some(&b'\n'))
}

fn not_utf8(name: &str) -> HeadFault {
    HeadFault::Malformed { reason: format!("the value of {name} is not UTF-8") }
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
            _ if request.version == Version::Http10 => Err(HeadFault::AmbiguousLength),
            true => Ok(BodyLength::Chunked),
            false => Err(HeadFault::TransferCoding),
        },
        _ => Err(HeadFault::AmbiguousLength),
    }
}

/// HTTP/1.0 has no agreed way to keep a connection.
fn keeps_alive(request: &Request) -> bool {
    request.version == Version::Http11 && !request.header_has("connection", "close")
}

fn expects_continue(request: &Request) -> Result<bool, HeadFault> {
    match request.header("expect") {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case("100-continue") => Ok(request.version != Version::Http10),
        Some(_) => Err(HeadFault::Expectation),
    }
}

/// What most requests have at the most.
const FEW_HEADERS: usize = 24;

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
            ("GET / HTTP/1.1\r\nhost: x\r\na: b\r\rc: d\r\n\r\n", BareLineEnd),
            ("GET /\r HTTP/1.1\r\nhost: x\r\n\r\n", BareLineEnd),
            ("GET / HTTP/1.1\rhost: x\r\n\r\n", BareLineEnd),
            ("GET / HTTP/1.1\r\nhost\r: x\r\n\r\n", BareLineEnd),
            ("GET / HTTP/1.1\r\n\rhost: x\r\n\r\n", BareLineEnd),
            ("GET / HTTP/1.1\r\nhost: x\r\r\n\r\n", BareLineEnd),
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

    fn take(build: http::request::Builder, ended: bool) -> Result<Request, HeadFault> {
        let (parts, ()) = build.body(()).expect("a request that can be built").into_parts();
        Request::from_http2(&parts, ended, LIMITS)
    }

    #[test]
    fn a_stream_of_http2_is_a_request_like_any_other() {
        let post = || http::Request::post("http://x:1/a?b").header("accept", "a/b").header("accept", "c/d");
        let request = take(post(), true).expect("well formed");
        assert_eq!((request.method(), request.target(), request.body), (Method::Post, "/a?b", BodyLength::Known(0)));
        assert_eq!(request.header("host"), Some("x:1"), "the authority stands where Host does");
        assert_eq!(request.header_all("accept").collect::<Vec<_>>(), ["a/b", "c/d"]);
        assert_eq!((request.version, request.keep_alive, request.tunnel), (Version::Http2, false, false));
        assert_eq!(take(post(), false).map(|request| request.body), Ok(BodyLength::Stream(None)));
        assert_eq!(take(post().header("content-length", "3"), false).map(|request| request.body), Ok(BodyLength::Stream(Some(3))));
        assert_eq!(take(http::Request::get("/").header("host", "x"), true).map(|request| request.header("host").is_some()), Ok(true));
    }

    #[test]
    fn an_extended_connect_is_a_get_that_asks_for_a_websocket() {
        let connect = |protocol| http::Request::connect("http://x/a").extension(h2::ext::Protocol::from_static(protocol));
        let request = take(connect("websocket"), false).expect("well formed");
        assert_eq!((request.method(), request.tunnel, request.body), (Method::Get, true, BodyLength::Known(0)));
        assert!(request.asks_websocket());
        assert_eq!(take(connect("connect-udp"), false).map(drop), Err(HeadFault::Protocol));
        assert_eq!(take(http::Request::connect("x:1"), false).map(|request| request.method()), Ok(Method::Other));
    }

    #[test]
    fn refuses_over_http2_what_it_refuses_elsewhere() {
        use HeadFault::*;
        let get = || http::Request::get("http://x/");
        for (request, fault) in [
            (http::Request::get("/"), Host),
            (get().header("host", "y"), Host),
            (get().header("content-length", "1").header("content-length", "1"), AmbiguousLength),
            (get().header("expect", "tea"), Expectation),
            (get().header("a", "x".repeat(300)), TooLong { max: 200 }),
            (get().header("a", "1").header("b", "1").header("c", "1").header("d", "1"), TooManyHeaders { max: 4 }),
        ] {
            assert_eq!(take(request, false).map(drop), Err(fault));
        }
        assert!(matches!(take(get().header("a", &b"\xff"[..]), false), Err(Malformed { .. })));
    }

    #[test]
    fn a_head_that_never_ends_is_cut_off() {
        assert!(matches!(parse(&format!("GET / HTTP/1.1\r\nhost: {}", "x".repeat(300))), Err(HeadFault::TooLong { max: 200 })));
        assert!(matches!(parse(&"x".repeat(150)), Ok(None)));
    }
}
