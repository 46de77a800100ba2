//! WebSocket: the pieces in which bytes arrive change nothing, nothing is hoarded, and what was read can be laid and read again.

use bongsu_core::websocket::deflate::{Agreed, DeflateConfig, Deflater, Inflater};
use bongsu_core::websocket::{
    Decoder, FrameShape, INPUT_KEPT_BYTES_MAX, Limits, Message, Opcode, Role, WebSocketFault, close, write_close, write_shaped_frame,
};
use bytes::{BufMut, BytesMut};

const LIMITS: Limits = Limits { message_bytes_max: 1_000, frame_bytes_max: 600, fragments_max: 6 };

/// The first byte says which end we are (its lowest bit) and how long the pieces are; the rest is what the peer sends.
pub(crate) fn websocket_decode(data: &[u8]) {
    let Some((&setting, stream)) = data.split_first() else { return };
    let role = if setting & 1 == 0 { Role::Server } else { Role::Client };
    let piece = usize::from(setting >> 1) + 1;
    let decoder = || Decoder::new(role, LIMITS);
    let whole = read(decoder(), [stream]);
    assert_eq!(read(decoder(), stream.chunks(piece)), whole, "in pieces of {piece}");
    let (messages, fault) = whole;
    messages.iter().for_each(check_message);
    if let Some(fault) = fault {
        assert!(close::may_be_sent(fault.close_code()));
    }
    let again = read(decoder(), [&lay(role, &messages)[..]]);
    assert_eq!(again, (messages, None), "laid and read again");
}

/// As [`websocket_decode`], with compression; the second lowest bit of the first byte says whether messages refer back to earlier ones.
///
/// The stream is also taken as a message, compressed and read again.
pub(crate) fn websocket_deflate(data: &[u8]) {
    let Some((&setting, stream)) = data.split_first() else { return };
    let role = if setting & 1 == 0 { Role::Server } else { Role::Client };
    let no_context_takeover = setting & 2 == 0;
    let piece = usize::from(setting >> 2) + 1;
    let agreed = Agreed {
        server_no_context_takeover: no_context_takeover,
        client_no_context_takeover: no_context_takeover,
        server_max_window_bits: Some(9 + (setting >> 2) % 7),
        client_max_window_bits: None,
    };
    let decoder = |role| Decoder::with_deflate(role, LIMITS, &agreed);
    let whole = read(decoder(role), [stream]);
    assert_eq!(read(decoder(role), stream.chunks(piece)), whole, "in pieces of {piece}");
    whole.0.iter().for_each(check_message);

    let message = &stream[..stream.len().min(LIMITS.frame_bytes_max)];
    let mut deflater = Deflater::new(agreed.outgoing(Role::Server), &DeflateConfig { threshold_bytes: 0, ..DeflateConfig::default() });
    let mut laid = BytesMut::new();
    // Twice, so that the second may refer back to the first.
    deflater.compress_frame(Opcode::Binary, message, &mut laid);
    deflater.compress_frame(Opcode::Binary, message, &mut laid);
    let expected = Message::Binary(message.to_vec().into());
    assert_eq!(read(decoder(Role::Client), laid.chunks(piece)), (vec![expected.clone(), expected], None), "compressed and read again");
}

fn read<'a>(mut decoder: Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Option<WebSocketFault>) {
    let mut inflater = Inflater::new();
    let mut input = BytesMut::new();
    let mut messages = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode_with(&mut input, &mut inflater) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(fault) => return (messages, Some(fault)),
            }
        }
        assert!(input.len() <= INPUT_KEPT_BYTES_MAX);
        // What will not compress may be an eighth longer on the wire.
        assert!(decoder.capacity_held() <= LIMITS.message_bytes_max * 9 / 8 + 64);
    }
    (messages, None)
}

fn check_message(message: &Message) {
    match message {
        Message::Text(payload) => assert!(payload.len() <= LIMITS.message_bytes_max && std::str::from_utf8(payload).is_ok()),
        Message::Binary(payload) => assert!(payload.len() <= LIMITS.message_bytes_max),
        Message::Ping(payload) | Message::Pong(payload) => assert!(payload.len() <= 125),
        Message::Close(None) => (),
        Message::Close(Some(frame)) => assert!(close::may_be_sent(frame.code) && frame.reason.len() <= close::REASON_BYTES_MAX),
    }
}

fn lay(role: Role, messages: &[Message]) -> BytesMut {
    let mut out = BytesMut::new();
    for message in messages {
        match message {
            Message::Text(payload) => lay_data(&mut out, role, Opcode::Text, payload),
            Message::Binary(payload) => lay_data(&mut out, role, Opcode::Binary, payload),
            Message::Ping(payload) => lay_frame(&mut out, role, Opcode::Ping, true, payload),
            Message::Pong(payload) => lay_frame(&mut out, role, Opcode::Pong, true, payload),
            Message::Close(None) => lay_close(&mut out, role, close::NO_CODE, ""),
            Message::Close(Some(frame)) => lay_close(&mut out, role, frame.code, &frame.reason),
        }
    }
    out
}

/// In two fragments, since a message may be longer than a frame.
fn lay_data(out: &mut BytesMut, role: Role, opcode: Opcode, payload: &[u8]) {
    let (head, tail) = payload.split_at(payload.len() / 2);
    lay_frame(out, role, opcode, false, head);
    lay_frame(out, role, Opcode::Continuation, true, tail);
}

fn lay_close(out: &mut BytesMut, role: Role, code: u16, reason: &str) {
    let mut payload = BytesMut::new();
    if role == Role::Client {
        return write_close(out, code, reason);
    }
    if code != close::NO_CODE {
        payload.put_u16(code);
        payload.put_slice(reason.as_bytes());
    }
    lay_frame(out, role, Opcode::Close, true, &payload);
}

/// A frame from the peer of this role.
fn lay_frame(out: &mut BytesMut, role: Role, opcode: Opcode, fin: bool, payload: &[u8]) {
    let mask = (role == Role::Server).then_some([0x0b, 0xad, 0xf0, 0x0d]);
    write_shaped_frame(out, FrameShape { fin, mask, ..FrameShape::whole(opcode) }, payload);
}
