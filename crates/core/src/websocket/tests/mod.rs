//! The codec told in transcripts: frames in (`<`), messages out (`>`), the fault that ends it (`!`).
//!
//! `< 81 'Hello'` is a frame: its first byte, then its payload as text, hex or hex repeated (`61*126`). It is sent as a server
//! would and, masked, as a client would; `raw` in front gives the bytes as they stand. Every transcript runs whole, byte by byte
//! and cut in two at every place, and must tell the same story each time.

mod deflate;
mod properties;
mod transcripts;

use bytes::{Bytes, BytesMut};

use super::deflate::Inflater;
use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Small enough that a transcript can break each.
const LIMITS: Limits = Limits { message_bytes_max: 70_000, frame_bytes_max: 66_000, fragments_max: 8 };

fn check(transcript: &str) {
    for role in [Role::Server, Role::Client] {
        check_as(role, transcript);
    }
}

fn check_as(role: Role, transcript: &str) {
    play(role, transcript, || Decoder::new(role, LIMITS));
}

fn play(role: Role, transcript: &str, decoder: impl Fn() -> Decoder) {
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (mark, rest) = line.split_once(' ').expect("a mark and what follows");
        match mark {
            "<" => bytes.extend(frame_bytes(role, rest)),
            _ => expected.push(line.to_owned()),
        }
    }
    assert_eq!(tell(decoder(), LIMITS, [&bytes[..]]), expected, "whole, as {role:?}: {transcript}");
    assert_eq!(tell(decoder(), LIMITS, bytes.chunks(1)), expected, "byte by byte, as {role:?}: {transcript}");
    // A cut deep inside a long payload is like its neighbours.
    for cut in (0..bytes.len()).filter(|cut| *cut < 300 || bytes.len() - cut < 20) {
        let (head, tail) = bytes.split_at(cut);
        assert_eq!(tell(decoder(), LIMITS, [head, tail]), expected, "cut at {cut}, as {role:?}: {transcript}");
    }
}

/// What a decoder says to bytes that arrive in these chunks, a line for each event, checking what it keeps meanwhile.
fn tell<'a>(mut decoder: Decoder, limits: Limits, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut inflater = Inflater::new();
    let mut input = BytesMut::new();
    let mut told = Vec::new();
    for chunk in chunks {
        input.extend_from_slice(chunk);
        loop {
            match decoder.decode_with(&mut input, &mut inflater) {
                Ok(Some(message)) => told.push(told_message(&message)),
                Ok(None) => break,
                Err(fault) => {
                    told.push(format!("! {fault:?}"));
                    return told;
                }
            }
        }
        assert!(input.len() <= INPUT_KEPT_BYTES_MAX, "{} bytes kept", input.len());
        assert!(decoder.bytes_held() <= limits.message_bytes_max * 9 / 8 + 64, "{} bytes held", decoder.bytes_held());
    }
    told
}

fn told_message(message: &Message) -> String {
    match message {
        Message::Text(payload) => format!("> text {}", told_payload(payload)),
        Message::Binary(payload) => format!("> binary {}", told_payload(payload)),
        Message::Ping(payload) => format!("> ping {}", told_payload(payload)),
        Message::Pong(payload) => format!("> pong {}", told_payload(payload)),
        Message::Close(None) => "> close".to_owned(),
        Message::Close(Some(frame)) => format!("> close {} '{}'", frame.code, frame.reason),
    }
}

fn told_payload(payload: &Bytes) -> String {
    match std::str::from_utf8(payload) {
        _ if payload.len() > 100 => format!("{:02x}*{}", payload[0], payload.len()),
        Ok(text) if !text.contains(char::is_control) => format!("'{text}'"),
        _ => payload.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn frame_bytes(role: Role, notation: &str) -> Vec<u8> {
    if let Some(raw) = notation.strip_prefix("raw ") {
        return payload_bytes(raw);
    }
    let (first, payload) = notation.split_once(' ').unwrap_or((notation, ""));
    let first = u8::from_str_radix(first, 16).expect("the first byte in hex");
    let mask = (role == Role::Server).then_some(MASK);
    let mut frame = BytesMut::new();
    // The first byte is set afterwards, since a transcript may say what no encoder would.
    write_shaped_frame(&mut frame, FrameShape { mask, ..FrameShape::whole(Opcode::Text) }, &payload_bytes(payload));
    frame[0] = first;
    frame.to_vec()
}

/// Words of hex, each perhaps repeated (`61*126`), and text in quotes.
fn payload_bytes(notation: &str) -> Vec<u8> {
    let hex = |word: &str| -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&word[at..at + 2], 16).expect("a byte in hex");
        (0..word.len()).step_by(2).map(byte).collect()
    };
    let outside = |part: &str| -> Vec<u8> {
        let words = part.split_whitespace().map(|word| match word.split_once('*') {
            Some((unit, times)) => hex(unit).repeat(times.parse().expect("a count")),
            None => hex(word),
        });
        words.flatten().collect()
    };
    // Every second part stands between quotes.
    let parts = notation.split('\'').enumerate();
    parts.flat_map(|(place, part)| if place % 2 == 1 { part.as_bytes().to_vec() } else { outside(part) }).collect()
}
