use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

fn limits() -> StompLimits {
    StompLimits { head_bytes_max: 256, headers_max: 4, body_bytes_max: 64, ..StompLimits::default() }
}

/// Everything that the bytes hold, fed in chunks of these sizes, over and over.
fn decode(version: Option<Version>, bytes: &[u8], chunks: &[usize]) -> Result<Vec<Frame>, StompFault> {
    let mut decoder = Decoder::new(&limits());
    if let Some(version) = version {
        decoder.set_version(version);
    }
    let (mut buffer, mut frames, mut rest) = (BytesMut::new(), Vec::new(), bytes);
    let mut sizes = chunks.iter().cycle();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rest.len().min(sizes.next().copied().unwrap_or(usize::MAX).max(1)));
        rest = after;
        buffer.put_slice(chunk);
        while let Some(frame) = decoder.decode(&mut buffer)? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

fn whole(version: Version, text: &str) -> Result<Vec<Frame>, StompFault> {
    decode(Some(version), text.as_bytes(), &[])
}

fn one(version: Version, text: &str) -> Frame {
    let mut frames = whole(version, text).unwrap_or_else(|fault| panic!("{text:?}: {fault}"));
    assert_eq!(frames.len(), 1, "{text:?}");
    frames.remove(0)
}

#[test]
fn reads_frames_and_passes_over_heart_beats() {
    let stream = "\n\nSEND\ndestination:/a\n\nhi\0\n\r\n\nSEND\ndestination:/b\ncontent-length:3\n\na\0b\0DISCONNECT\n\n\0\n";
    let frames = whole(Version::V1_2, stream).expect("well formed");
    assert_eq!(frames.len(), 3);
    assert_eq!((frames[0].get("destination"), &frames[0].body[..]), (Some("/a"), &b"hi"[..]));
    assert_eq!(&frames[1].body[..], b"a\0b");
    assert_eq!(frames[2], Frame::new(FrameCommand::Disconnect));
}

#[test]
fn escapes_are_those_of_the_version() {
    let text = "SEND\na\\cb:1\\n2\\\\3\n\n\0";
    assert_eq!(one(Version::V1_1, text).get("a:b"), Some("1\n2\\3"));
    assert_eq!(one(Version::V1_2, text).get("a:b"), Some("1\n2\\3"));
    assert_eq!(one(Version::V1_0, text).get("a\\cb"), Some("1\\n2\\\\3"), "1.0 has none");
    assert_eq!(one(Version::V1_2, "SEND\na:\\r\n\n\0").get("a"), Some("\r"));
    for (version, text) in [(Version::V1_1, "SEND\na:\\r\n\n\0"), (Version::V1_2, "SEND\na:\\t\n\n\0"), (Version::V1_2, "SEND\na:\\\n\n\0")]
    {
        assert!(matches!(whole(version, text), Err(StompFault::UnknownEscape { .. })), "{text:?}");
    }
    assert_eq!(one(Version::V1_2, "CONNECT\npasscode:a\\tb:c\n\n\0").get("passcode"), Some("a\\tb:c"), "connecting never escapes");
}

#[test]
fn lines_and_padding_are_those_of_the_version() {
    assert_eq!(one(Version::V1_2, "SEND\r\na: b \r\n\r\n\0").get("a"), Some(" b "));
    assert_eq!(one(Version::V1_1, "SEND\na: b \r\n\n\0").get("a"), Some(" b \r"));
    assert_eq!(one(Version::V1_0, "SEND\na: b \n\n\0").get("a"), Some("b"));
    assert!(matches!(whole(Version::V1_1, "SEND\r\n\r\n\0"), Err(StompFault::UnknownCommand { .. })));
    assert!(matches!(whole(Version::V1_2, "SEND\na:b\rc\n\n\0"), Err(StompFault::CarriageReturnInHead { .. })));
    assert_eq!(decode(None, b"CONNECT\r\naccept-version:1.2\r\n\r\n\0", &[]).expect("a client of 1.2").len(), 1);
}

#[test]
fn the_first_of_repeated_headers_wins() {
    let frame = one(Version::V1_2, "SEND\nfoo:World\nfoo:Hello\nempty:\n\n\0");
    assert_eq!((frame.get("foo"), frame.get("empty"), frame.headers.len()), (Some("World"), Some(""), 2));
}

#[test]
fn names_each_fault() {
    let long = "x".repeat(300);
    for (code, text) in [
        ("unknown-command", "GET / HTTP/1.1\n"),
        ("unknown-command", "send\n"),
        ("unknown-command", " SEND\n"),
        ("head-too-large", &long),
        ("head-too-large", &format!("SEND\na:{long}")),
        ("too-many-headers", "SEND\na:1\nb:2\nc:3\nd:4\ne:5\n"),
        ("nul-in-head", "SEND\na:b\0"),
        ("nul-in-head", "SEND\0"),
        ("nul-in-head", "\0"),
        ("header-without-colon", "SEND\nabc\n"),
        ("header-without-name", "SEND\n:abc\n"),
        ("invalid-content-length", "SEND\ncontent-length:\n\n"),
        ("invalid-content-length", "SEND\ncontent-length:-1\n\n"),
        ("invalid-content-length", "SEND\ncontent-length: 1\n\n"),
        ("invalid-content-length", "SEND\ncontent-length:1x\n\n"),
        ("body-too-large", "SEND\ncontent-length:65\n\n"),
        ("body-too-large", "SEND\ncontent-length:99999999999999999999\n\n"),
        ("body-too-large", &format!("SEND\n\n{}", "y".repeat(65))),
        ("body-not-ended", "SEND\ncontent-length:1\n\nab"),
        ("body-not-allowed", "SUBSCRIBE\nid:0\n\nbody\0"),
    ] {
        let fault = whole(Version::V1_2, text).expect_err(text);
        assert_eq!(fault.code(), code, "{text:?}: {fault}");
    }
    let fault = decode(Some(Version::V1_2), b"SEND\na:\xff\n", &[]).expect_err("not UTF-8");
    assert_eq!(fault.code(), "header-not-utf-8");
    assert_eq!(one(Version::V1_0, "SUBSCRIBE\ndestination:/a\n\nignored\0").command, FrameCommand::Subscribe);
}

#[test]
fn a_frame_that_never_ends_is_cut_off_at_its_bound() {
    let mut decoder = Decoder::new(&limits());
    let mut buffer = BytesMut::from(&b"SEND\n\n"[..]);
    let fault = (0..1_000).find_map(|_| {
        buffer.put_slice(b"forever ");
        decoder.decode(&mut buffer).err()
    });
    assert_eq!(fault, Some(StompFault::BodyTooLarge { max: 64 }));
    assert!(buffer.len() <= 72);
}

#[test]
fn what_no_escape_can_say_is_replaced() {
    let frame = Frame::new(FrameCommand::Message).with("a:b", "1\n2\r3\0\\").with("c", "x:y");
    for (version, expected) in [
        (Version::V1_0, "MESSAGE\na_b:1 2 3\u{fffd}\\\nc:x:y\n\n\0"),
        (Version::V1_1, "MESSAGE\na\\cb:1\\n2\r3\u{fffd}\\\\\nc:x\\cy\n\n\0"),
        (Version::V1_2, "MESSAGE\na\\cb:1\\n2\\r3\u{fffd}\\\\\nc:x\\cy\n\n\0"),
    ] {
        let mut out = BytesMut::new();
        write_frame(version, &frame, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let text = "[^\0]{1,6}".prop_filter("a header of its own", |name| name != "content-length");
    let headers = proptest::collection::btree_map(text, "[^\0]{0,6}", 0..3);
    (headers, proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(headers, body)| Frame {
        command: FrameCommand::Send,
        headers: headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        body: Bytes::from(body),
    })
}

/// What streams are made of, well and badly.
const PIECES: &[&[u8]] =
    &[b"SEND\n", b"CONNECT\r\n", b"a:b\n", b"content-length:2\n", b"\n", b"\r", b"\r\n", b"\0", b"xy", b"\\n", b"\\q:\n", b"\xff"];

proptest! {
    #[test]
    fn what_is_written_is_read_again_however_it_is_cut(
        frames in proptest::collection::vec(any_frame(), 1..4),
        chunks in proptest::collection::vec(1usize..20, 1..5),
        newer: bool,
    ) {
        let version = if newer { Version::V1_2 } else { Version::V1_1 };
        let mut stream = BytesMut::new();
        for frame in &frames {
            write_frame(version, frame, &mut stream);
            stream.put_u8(b'\n');
        }
        let mut read = decode(Some(version), &stream, &chunks).expect("own frames are well formed");
        read.iter_mut().for_each(|frame| frame.headers.retain(|(name, _)| &**name != "content-length"));
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn any_bytes_read_the_same_however_they_are_cut(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..16),
        chunks in proptest::collection::vec(1usize..6, 1..5),
        version in prop_oneof![Just(None), Just(Some(Version::V1_0)), Just(Some(Version::V1_1)), Just(Some(Version::V1_2))],
    ) {
        let bytes = pieces.concat();
        prop_assert_eq!(decode(version, &bytes, &chunks), decode(version, &bytes, &[]));
    }
}
