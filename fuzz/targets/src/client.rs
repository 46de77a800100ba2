//! What the client reads: streams of events and of parts, in pieces of any size.

use bongsu_lab::client::{event_source, parts};

const RECORD_BYTES_MAX: usize = 500;

/// The first byte says how long the pieces are; the rest is a `text/event-stream`.
pub(crate) fn event_source(data: &[u8]) {
    let Some((&setting, stream)) = data.split_first() else { return };
    let read = |piece: usize| {
        let (mut parser, mut items) = (event_source::Parser::new(RECORD_BYTES_MAX), Vec::new());
        for piece in stream.chunks(piece.max(1)) {
            parser.push(piece);
            loop {
                match parser.take() {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) => break,
                    Err(fault) => return (items, Some(fault.to_string())),
                }
            }
        }
        (items, None)
    };
    let whole = read(stream.len());
    assert_eq!(read(usize::from(setting) + 1), whole, "in pieces of {}", usize::from(setting) + 1);
    for item in &whole.0 {
        if let event_source::Item::Event { name, id, .. } = item {
            assert!(!name.is_empty() && !id.contains(['\n', '\r', '\0']));
        }
    }
}

/// The first byte says how long the pieces are; the rest is a `multipart/mixed` with the boundary `b`.
pub(crate) fn multipart_parts(data: &[u8]) {
    let Some((&setting, stream)) = data.split_first() else { return };
    let read = |piece: usize| {
        let mut parser = parts::Parser::new("multipart/mixed; boundary=b", RECORD_BYTES_MAX).expect("a boundary");
        let mut parts = Vec::new();
        for piece in stream.chunks(piece.max(1)) {
            parser.push(piece);
            loop {
                match parser.take() {
                    Ok(Some(part)) => parts.push(part),
                    Ok(None) => break,
                    Err(fault) => return (parts, false, Some(fault.to_string())),
                }
            }
        }
        (parts, parser.has_ended(), None)
    };
    let whole = read(stream.len());
    assert_eq!(read(usize::from(setting) + 1), whole, "in pieces of {}", usize::from(setting) + 1);
    whole.0.iter().for_each(|part| assert!(part.body.len() <= stream.len()));
}
