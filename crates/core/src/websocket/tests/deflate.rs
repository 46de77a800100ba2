//! Compressed messages: the examples of RFC 7692, what is refused, and what holds for any message in any pieces.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::websocket::deflate::{Agreed, DeflateConfig, Deflater, Direction, Inflater};

const EACH_ALONE: Agreed = Agreed {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: None,
    client_max_window_bits: None,
};
const CONTINUED: Agreed = Agreed { server_no_context_takeover: false, client_no_context_takeover: false, ..EACH_ALONE };

fn check_deflate(agreed: &Agreed, transcript: &str) {
    for role in [Role::Server, Role::Client] {
        play(role, transcript, || Decoder::with_deflate(role, LIMITS, agreed));
    }
}

fn check_both(transcript: &str) {
    check_deflate(&EACH_ALONE, transcript);
    check_deflate(&CONTINUED, transcript);
}

// RFC 7692, 7.2.3.1 to 7.2.3.6

#[test]
fn the_examples_of_the_rfc() {
    check_both(
        "< c1 f248cdc9c90700
         > text 'Hello'",
    );
    check_both(
        "< 41 f248cd
         < 89 'between'
         > ping 'between'
         < 80 c9c90700
         > text 'Hello'",
    );
    check_deflate(
        &CONTINUED,
        "< c1 f248cdc9c90700
         > text 'Hello'
         < c1 f200110000
         > text 'Hello'",
    );
    check_both("< c1 000500faff 'Hello' 00\n > text 'Hello'");
    check_both("< c1 f348cdc9c9070000\n > text 'Hello'");
    check_both("< c1 f248050000 00ffffcac9c90700\n > text 'Hello'");
    check_both("< c1 00\n > text ''");
}

#[test]
fn plain_and_compressed_messages_mix() {
    check_both(
        "< c1 f348cdc9c90700
         > text 'Hello'
         < 81 'plain'
         > text 'plain'
         < c2
         > binary ''
         < c2 f248cdc9c90700
         > binary 'Hello'",
    );
}

#[test]
fn reserved_bits_stand_only_where_they_were_agreed() {
    for frames in
        ["< c9 'x'", "< c8 03e8", "< 81 'x'\n > text 'x'\n < e1 'x'", "< d1 'x'", "< 41 f248cd\n < c0 c9c90700", "< 01 'x'\n < c0 'y'"]
    {
        check_both(&format!("{frames}\n ! ReservedBits"));
    }
    check("< c1 f248cdc9c90700\n ! ReservedBits");
}

#[test]
fn data_that_is_not_deflate_is_named() {
    // A block of the type that is no type; a stored block whose lengths disagree; a distance into nothing.
    for payload in ["07", "000500faff 'Hell'", "000500fa00 'Hello' 00", "02 13 00"] {
        check_both(&format!("< c2 {payload}\n ! CorruptDeflate"));
    }
    // A message cut short; one that refers back where that was not agreed.
    check_both("< c1 f248cd\n ! CorruptDeflate");
    check_deflate(&EACH_ALONE, "< c1 f248cdc9c90700\n > text 'Hello'\n < c1 f200110000\n ! CorruptDeflate");
}

#[test]
fn inflated_text_is_held_to_utf8() {
    let bad = hex(&reference_compress(b"Hello \xed\xa0\x80", 6));
    check_both(&format!("< c1 {bad}\n ! InvalidUtf8"));
    let broken_off = hex(&reference_compress("Hello 🔥".as_bytes().split_last().expect("not empty").1, 6));
    check_both(&format!("< c1 {broken_off}\n ! InvalidUtf8"));
    check_both(&format!("< c2 {broken_off}\n > binary 48656c6c6f20f09f94"));
}

#[test]
fn the_limit_is_on_what_comes_out() {
    let most = hex(&reference_compress(&vec![0x61; LIMITS.message_bytes_max], 9));
    check_both(&format!("< c1 {most}\n > text 61*70000"));
    let one_more = hex(&reference_compress(&vec![0x61; LIMITS.message_bytes_max + 1], 9));
    check_both(&format!("< c1 {one_more}\n ! InflatedTooLarge {{ max: 70000 }}"));
    // A thousandfold: 65 KB that would be 65 MB.
    let bomb = hex(&reference_compress(&vec![0; 65_000_000], 9));
    assert!(bomb.len() / 2 < LIMITS.frame_bytes_max);
    for role in [Role::Server, Role::Client] {
        let bytes = frame_bytes(role, &format!("c2 {bomb}"));
        let told = tell(Decoder::with_deflate(role, LIMITS, &EACH_ALONE), LIMITS, bytes.chunks(1400));
        assert_eq!(told, ["! InflatedTooLarge { max: 70000 }"]);
    }
}

#[test]
fn what_will_not_compress_fits_all_the_same() {
    let limits = Limits { message_bytes_max: 1000, frame_bytes_max: 1000, fragments_max: 1 };
    let payload = noise(1000);
    let compressed = reference_compress(&payload, 1);
    assert!(compressed.len() > payload.len());
    let mut input = BytesMut::new();
    write_shaped_frame(&mut input, FrameShape { compressed: true, ..FrameShape::whole(Opcode::Binary) }, &compressed);
    let message = Decoder::with_deflate(Role::Client, limits, &EACH_ALONE).decode(&mut input);
    assert_eq!(message, Ok(Some(Message::Binary(payload.into()))));
}

#[test]
fn only_context_takeover_keeps_an_inflater() {
    for (agreed, keeps) in [(EACH_ALONE, false), (CONTINUED, true)] {
        let mut decoder = Decoder::with_deflate(Role::Server, LIMITS, &agreed);
        let mut input = BytesMut::from(&frame_bytes(Role::Server, "c1 f248cdc9c90700")[..]);
        let mut shared = Inflater::new();
        decoder.decode_with(&mut input, &mut shared).expect("no fault").expect("a message");
        assert_eq!((decoder.keeps_inflater(), shared.is_in_use()), (keeps, !keeps));
    }
}

#[test]
fn what_gains_nothing_is_sent_as_it_is() {
    let config = DeflateConfig { threshold_bytes: 64, ..DeflateConfig::default() };
    let mut deflater = Deflater::new(EACH_ALONE.outgoing(Role::Server), &config);
    for (payload, compressed) in [(&[b'a'; 63][..], false), (&[b'a'; 64], true), (&noise(200), false), (b"", false)] {
        let mut out = BytesMut::new();
        assert_eq!(deflater.compress_frame(Opcode::Binary, payload, &mut out), compressed, "{} bytes", payload.len());
        assert!(out.len() <= payload.len() + 4);
        assert_eq!(out[0], if compressed { 0xC2 } else { 0x82 });
    }
    assert!(!deflater.compress_frame(Opcode::Ping, &[b'a'; 100], &mut BytesMut::new()));
}

/// Messages of the kinds that compressors treat differently: repetitive, random, long.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..400),
        "(\\{\"price\":[0-9]{1,3},\"name\":\"[a-c]{1,4}\"\\}){0,40}".prop_map(String::into_bytes),
        (any::<u8>(), 0usize..60_000).prop_map(|(byte, len)| vec![byte; len]),
        (prop::collection::vec(any::<u8>(), 600..900), 1usize..40).prop_map(|(unit, times)| unit.repeat(times)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_compressed_is_read_again(
        messages in prop::collection::vec(any_message(), 1..4),
        window_bits in 9u8..=15,
        level in 1u8..=9,
        context_takeover: bool,
        server: bool,
        piece in 1usize..5000,
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let config = DeflateConfig { threshold_bytes: 0, level, ..DeflateConfig::default() };
        let mut deflater = Deflater::new(Direction { context_takeover, window_bits }, &config);
        let mut bytes = BytesMut::new();
        let mask = server.then_some(MASK);
        for message in &messages {
            deflater.compress_shaped_frame(FrameShape { mask, ..FrameShape::whole(Opcode::Binary) }, message, &mut bytes);
        }
        let agreed = if context_takeover { CONTINUED } else { EACH_ALONE };
        let mut decoder = Decoder::with_deflate(role, LIMITS, &agreed);
        let (mut input, mut shared, mut read) = (BytesMut::new(), Inflater::new(), Vec::new());
        for chunk in bytes.chunks(piece) {
            input.extend_from_slice(chunk);
            while let Some(message) = decoder.decode_with(&mut input, &mut shared).expect("what we laid is right") {
                read.push(message);
            }
        }
        let expected: Vec<Message> = messages.into_iter().map(|message| Message::Binary(message.into())).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn another_inflater_reads_ours_and_we_read_another(message in any_message(), level in 0u32..=9) {
        let config = DeflateConfig { threshold_bytes: 0, ..DeflateConfig::default() };
        let mut deflater = Deflater::new(EACH_ALONE.outgoing(Role::Server), &config);
        if let Some(compressed) = deflater.compress(&message) {
            prop_assert!(compressed.len() < message.len());
            prop_assert_eq!(reference_inflate(compressed, message.len()), message.clone());
        }
        let mut input = BytesMut::new();
        write_shaped_frame(&mut input, FrameShape { compressed: true, ..FrameShape::whole(Opcode::Binary) }, &reference_compress(&message, level));
        let read = Decoder::with_deflate(Role::Client, LIMITS, &EACH_ALONE).decode(&mut input);
        prop_assert_eq!(read, Ok(Some(Message::Binary(message.into()))));
    }

    #[test]
    fn chunks_change_nothing_when_compressed(
        message in any_message(),
        change in any::<Option<(Index, u8)>>(),
        fragment in 1usize..200,
        text: bool,
        continued: bool,
        piece in 1usize..300,
    ) {
        let mut compressed = reference_compress(&message, 6);
        compressed.truncate(1000);
        if let Some((place, byte)) = change {
            let place = place.index(compressed.len());
            compressed[place] = byte;
        }
        let mut bytes = BytesMut::new();
        let parts: Vec<&[u8]> = compressed.chunks(fragment.max(compressed.len().div_ceil(8))).collect();
        for (place, part) in parts.iter().enumerate() {
            let opcode = match place { 0 if text => Opcode::Text, 0 => Opcode::Binary, _ => Opcode::Continuation };
            let shape = FrameShape { opcode, fin: place + 1 == parts.len(), compressed: place == 0, mask: Some(MASK) };
            write_shaped_frame(&mut bytes, shape, part);
        }
        let agreed = if continued { CONTINUED } else { EACH_ALONE };
        let decoder = || Decoder::with_deflate(Role::Server, LIMITS, &agreed);
        let whole = tell(decoder(), LIMITS, [&bytes[..]]);
        prop_assert_eq!(&tell(decoder(), LIMITS, bytes.chunks(1)), &whole);
        prop_assert_eq!(&tell(decoder(), LIMITS, bytes.chunks(piece)), &whole);
    }
}

/// Bytes that no compressor makes shorter.
fn noise(len: usize) -> Vec<u8> {
    let states = std::iter::successors(Some(0x9e37_79b9_7f4a_7c15u64), |state| {
        let state = state ^ (state << 13);
        let state = state ^ (state >> 7);
        Some(state ^ (state << 17))
    });
    states.map(|state| (state >> 32) as u8).take(len).collect()
}

/// A message compressed by flate2 alone, without the tail.
fn reference_compress(message: &[u8], level: u32) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(2 * message.len() + 100);
    let mut compress = Compress::new(Compression::new(level), false);
    compress.compress_vec(message, &mut compressed, FlushCompress::Sync).expect("room enough");
    compressed.truncate(compressed.len() - 4);
    if message.is_empty() { vec![0] } else { compressed }
}

fn reference_inflate(compressed: &[u8], len: usize) -> Vec<u8> {
    let whole = [compressed, &[0, 0, 0xFF, 0xFF]].concat();
    let mut message = Vec::with_capacity(len + 1);
    Decompress::new(false).decompress_vec(&whole, &mut message, FlushDecompress::Sync).expect("DEFLATE");
    message
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
