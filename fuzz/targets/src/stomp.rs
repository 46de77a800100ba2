//! STOMP: pieces change nothing, what was read can be written and read again, and whatever a client sends, its session stays sound.

use bongsu_core::stomp::{
    Action, Decoder, Frame, FrameCommand, HeartBeatOffer, StompFault, StompLimits, StompSession, Version, write_frame,
};
use bongsu_core::{Epoch, Position};
use bytes::{Bytes, BytesMut};

/// The first byte says the version (its lowest two bits, 3 for none agreed yet) and how long the pieces are.
pub(crate) fn stomp_decode(data: &[u8]) {
    let Some((&setting, stream)) = data.split_first() else { return };
    let version = Version::ALL.get(usize::from(setting & 3)).copied();
    let piece = usize::from(setting >> 2) + 1;
    let whole = read(version, [stream]);
    assert_eq!(read(version, stream.chunks(piece)), whole, "in pieces of {piece}");
    // 1.0 has no escapes, so not everything that can be read could be said.
    let Some(version @ (Version::V1_1 | Version::V1_2)) = version else { return };
    let mut laid = BytesMut::new();
    whole.0.iter().for_each(|frame| write_frame(version, frame, &mut laid));
    let (again, fault) = read_with(wide(), Some(version), [&laid[..]]);
    assert_eq!(fault, None, "what was read can be written");
    assert_eq!(again.iter().map(bare).collect::<Vec<_>>(), whole.0.iter().map(bare).collect::<Vec<_>>());
}

/// The first byte says how long the pieces are. The caller does at once what it is told to.
pub(crate) fn stomp_session(data: &[u8]) {
    let Some((&setting, stream)) = data.split_first() else { return };
    let whole = converse([stream]);
    assert_eq!(converse(stream.chunks(usize::from(setting) + 1)), whole, "in pieces of {}", usize::from(setting) + 1);
}

fn read<'a>(version: Option<Version>, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<StompFault>) {
    read_with(limits(), version, pieces)
}

fn read_with<'a>(
    limits: StompLimits,
    version: Option<Version>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Option<StompFault>) {
    let mut decoder = Decoder::new(&limits);
    if let Some(version) = version {
        decoder.set_version(version);
    }
    let (mut input, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(fault) => return (frames, Some(fault)),
            }
        }
        assert!(input.len() <= limits.head_bytes_max.max(limits.body_bytes_max) + 1, "{} bytes are kept", input.len());
    }
    for frame in &frames {
        assert!(frame.headers.len() <= limits.headers_max && frame.body.len() <= limits.body_bytes_max);
    }
    (frames, None)
}

/// A frame without the length that writing adds.
fn bare(frame: &Frame) -> Frame {
    let headers = frame.headers.iter().filter(|(name, _)| &**name != "content-length").cloned().collect();
    Frame { headers, ..frame.clone() }
}

/// What the session says and asks for, in words.
fn converse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut session = StompSession::new(limits(), &Version::ALL, HeartBeatOffer { send_ms: 10_000, expect_ms: 20_000 });
    let (mut input, mut said, mut offset) = (BytesMut::new(), Vec::new(), 0);
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(action) = session.poll(&mut input) {
            said.push(format!("{action:?}"));
            obey(&mut session, &action, &mut offset);
            if let Action::Close { .. } = action {
                assert_eq!(session.poll(&mut BytesMut::from(&b"SEND\ndestination:/a\n\n\0"[..])), None, "after the end there is nothing");
                return said;
            }
        }
    }
    said
}

fn obey(session: &mut StompSession, action: &Action, offset: &mut u64) {
    let mut next = || {
        *offset += 1;
        Position::new(Epoch::from_bits(1), *offset)
    };
    match action {
        Action::Connect(_) => session.accept("bongsu/0", "s"),
        Action::Publish { publishes, receipt } => {
            assert!(!publishes.is_empty() && publishes.len() <= limits().transaction_frames_max.max(1));
            session.published(receipt.as_ref(), Some(next()));
        }
        Action::Subscribe { subscription, receipt, form, .. } => {
            session.subscribed(receipt.as_ref(), &next().into());
            // Fill its window, so that later ACKs and NACKs find something.
            while form.is_acknowledged() && session.window(*subscription) > 0 {
                session.message_sent(*subscription, next());
            }
        }
        Action::WindowOpened { subscription } => {
            assert!((1..=limits().prefetch_max).contains(&session.window(*subscription)));
            session.message_sent(*subscription, next());
        }
        Action::Reply(bytes) => check_reply(session.version(), bytes),
        Action::Unsubscribe { subscription, .. } => assert_eq!(session.window(*subscription), 0),
        Action::Close { .. } => (),
    }
}

/// A reply is one whole frame of a server's.
fn check_reply(version: Option<Version>, bytes: &Bytes) {
    let (frames, fault) = read_with(wide(), version.or(Some(Version::V1_0)), [&bytes[..]]);
    assert_eq!((frames.len(), fault), (1, None), "{}", bytes.escape_ascii());
    assert!(matches!(frames[0].command, FrameCommand::Connected | FrameCommand::Receipt | FrameCommand::Error));
}

fn limits() -> StompLimits {
    StompLimits {
        head_bytes_max: 500,
        headers_max: 10,
        body_bytes_max: 400,
        id_bytes_max: 20,
        depth_max: 8,
        subscriptions_max: 3,
        transactions_max: 2,
        transaction_frames_max: 4,
        transaction_bytes_max: 1_000,
        prefetch_default: 2,
        prefetch_max: 5,
        prefetch_total_max: 8,
    }
}

/// Room for what escapes and lengths add.
fn wide() -> StompLimits {
    StompLimits { head_bytes_max: 1 << 16, headers_max: 100, body_bytes_max: 1 << 16, ..limits() }
}
