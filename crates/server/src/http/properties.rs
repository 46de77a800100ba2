//! What holds for every request, in whatever pieces it comes.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{Body, HeadLimits, Request};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 2_000, headers_max: 20 };
const BODY_BYTES_MAX: usize = 1_000;

/// A request as a client may write it, and the body that it has.
#[derive(Debug, Clone)]
struct Written {
    bytes: Vec<u8>,
    target: String,
    header: String,
    body: Vec<u8>,
}

fn written() -> impl Strategy<Value = Written> {
    let chunk = prop::collection::vec(any::<u8>(), 1..40);
    let chunks = prop::collection::vec(chunk, 0..8);
    (chunks, any::<bool>(), "/[a-z%/]{0,20}", "[!-~]([ -~]{0,30}[!-~])?").prop_map(|(chunks, chunked, target, header)| {
        let body = chunks.concat();
        let mut bytes = format!("POST {target} HTTP/1.1\r\nHost: a\r\nX: {header}\r\n").into_bytes();
        if chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:X};of=it\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
        } else {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
        }
        Written { bytes, target, header, body }
    })
}

/// Reads requests as a connection does, with what came so far.
fn read(pieces: &[&[u8]]) -> Vec<(String, String, Bytes)> {
    let (mut input, mut requests) = (BytesMut::new(), Vec::new());
    let mut gathering: Option<(Request, Body)> = None;
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            if let Some((request, mut body)) = gathering.take() {
                let Some(whole) = body.take(&mut input).expect("a sound body") else {
                    gathering = Some((request, body));
                    break;
                };
                requests.push((request.target().to_owned(), request.header("x").unwrap_or_default().to_owned(), whole));
            }
            let Some(request) = Request::parse(&mut input, LIMITS).expect("a sound head") else { break };
            let body = Body::new(request.body, BODY_BYTES_MAX).expect("within the bound");
            gathering = Some((request.detach(), body));
        }
    }
    assert!(gathering.is_none() && input.is_empty(), "nothing is left over");
    requests
}

proptest! {
    #[test]
    fn requests_are_read_as_they_were_written_however_they_are_cut(
        written in prop::collection::vec(written(), 1..4),
        cuts in prop::collection::vec(1usize..60, 1..12),
    ) {
        let bytes: Vec<u8> = written.iter().flat_map(|written| written.bytes.clone()).collect();
        let (mut pieces, mut rest, mut turn) = (Vec::new(), &bytes[..], 0);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cuts[turn % cuts.len()].min(rest.len()));
            pieces.push(piece);
            (rest, turn) = (after, turn + 1);
        }
        let expected: Vec<_> = written.into_iter().map(|written| (written.target, written.header, Bytes::from(written.body))).collect();
        prop_assert_eq!(read(&pieces), expected);
    }
}
