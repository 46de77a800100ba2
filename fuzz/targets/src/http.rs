//! HTTP/1.1: the pieces in which a request arrives change nothing of how it is understood, and nothing is hoarded.

use bongsu_core::Start;
use bongsu_server::fuzzing::{Body, BodyFault, BodyLength, HeadFault, HeadLimits, Request, Version, subscription};
use bytes::{Bytes, BytesMut};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 700, headers_max: 12 };
const BODY_BYTES_MAX: usize = 600;

/// Requests one after the other, as far as they can be understood.
#[derive(Debug, PartialEq, Eq)]
struct Understood {
    /// Each head in words, with its body where that came whole.
    requests: Vec<(String, Option<Bytes>)>,
    fault: Option<Fault>,
}

#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Head(HeadFault),
    Body(BodyFault),
}

/// The first byte says how long the pieces are; the rest is what the client sends.
pub(crate) fn http_request(data: &[u8]) {
    let Some((&setting, stream)) = data.split_first() else { return };
    let whole = read([stream]);
    assert_eq!(read(stream.chunks(usize::from(setting) + 1)), whole, "in pieces of {}", usize::from(setting) + 1);
    assert_eq!(read(stream.chunks(1)), whole, "byte by byte");
}

/// The first line is the target, the rest are headers: what is asked is understood or refused with a name.
pub(crate) fn start_query(data: &[u8]) {
    let (target, headers) = split_line(data);
    let mut head = BytesMut::from(&b"GET "[..]);
    head.extend_from_slice(target);
    head.extend_from_slice(b" HTTP/1.1\r\nhost: a\r\n");
    for line in headers.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        head.extend_from_slice(line);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let limits = HeadLimits { bytes_max: 1 << 15, headers_max: 100 };
    let Ok(Some(request)) = Request::parse(&mut head, limits) else { return };
    match subscription(&request) {
        Ok(starts) => check_starts(&request, &starts),
        Err((status, code)) => assert!(matches!(status, 400 | 406) && !code.is_empty()),
    }
}

fn check_starts<T: PartialEq>(request: &Request, starts: &[(T, Start)]) {
    let mut seen: Vec<&T> = Vec::new();
    for (channel, start) in starts {
        assert!(!seen.contains(&channel), "a channel is followed once");
        seen.push(channel);
        // Last-Event-ID wins, so whoever sends one is never given a start of another kind, but for channels that are not in it.
        let resumes = request.header("last-event-id").is_some_and(|id| !id.is_empty());
        assert!(!resumes || matches!(start, Start::After(_) | Start::Live));
    }
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Understood {
    let mut understood = Understood { requests: Vec::new(), fault: None };
    let mut input = BytesMut::new();
    let mut body: Option<Body> = None;
    for piece in pieces {
        input.extend_from_slice(piece);
        if let Err(fault) = read_on(&mut input, &mut body, &mut understood.requests) {
            understood.fault = Some(fault);
            break;
        }
        assert!(input.len() <= LIMITS.bytes_max.max(CHUNK_LINE_BYTES_MAX) + 2, "{} bytes are kept", input.len());
    }
    understood
}

/// The longest line of a chunked body that may be waited for.
const CHUNK_LINE_BYTES_MAX: usize = 1024;

fn read_on(input: &mut BytesMut, body: &mut Option<Body>, requests: &mut Vec<(String, Option<Bytes>)>) -> Result<(), Fault> {
    loop {
        if let Some(gathering) = body {
            let Some(whole) = gathering.take(input).map_err(Fault::Body)? else { return Ok(()) };
            assert!(whole.len() <= BODY_BYTES_MAX);
            if let Some((_, body)) = requests.last_mut() {
                *body = Some(whole);
            }
            *body = None;
        }
        let Some(request) = Request::parse(input, LIMITS).map_err(Fault::Head)? else { return Ok(()) };
        *body = Some(Body::new(request.body, BODY_BYTES_MAX).map_err(Fault::Body)?);
        requests.push((words(&request), None));
    }
}

fn words(request: &Request) -> String {
    let names = ["host", "content-length", "transfer-encoding", "connection", "expect", "accept", "prefer", "a"];
    let headers: Vec<_> = names.iter().map(|name| request.header_all(name).collect::<Vec<_>>()).collect();
    assert_eq!(headers[0].len(), 1 - usize::from(request.version == Version::Http10 && headers[0].is_empty()), "one Host");
    assert!(matches!(request.body, BodyLength::Known(_)) || headers[1].is_empty(), "one statement of the length");
    format!(
        "{:?} {} {headers:?} {} {:?} {}",
        request.method(),
        request.target(),
        request.keep_alive,
        request.body,
        request.expects_continue
    )
}

fn split_line(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    (&data[..end], data.get(end + 1..).unwrap_or_default())
}
