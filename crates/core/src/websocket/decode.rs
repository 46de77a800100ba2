//! From bytes to messages. Each WebSocket connection holds one decoder, so an idle one is small and owns nothing on the heap.

use bytes::{Buf, Bytes, BytesMut};

use super::assembly::{Assembly, Progress};
use super::frame::{CONTROL_BYTES_MAX, FirstByte, Head, Opcode, SecondByte};
use super::mask::apply_mask;
use super::{Limits, Message, Role, WebSocketFault, close};

/// The most bytes that [`Decoder::decode`] leaves in its input when it asks for more: a control frame that lacks its last byte.
pub const INPUT_KEPT_BYTES_MAX: usize = 2 + 4 + CONTROL_BYTES_MAX - 1;

/// Turns what a peer sent into messages, and refuses what breaks RFC 6455 or a limit at the first byte that does.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limits: Limits,
    /// The message that is still arriving; boxed, so that it costs a pointer while there is none.
    assembly: Option<Box<Assembly>>,
}

impl Decoder {
    /// A decoder for a connection that has just opened.
    pub fn new(role: Role, limits: Limits) -> Self {
        Self { role, limits, assembly: None }
    }

    /// Takes the next message from the front of `input`, or `None` when it needs more bytes.
    ///
    /// What it has understood it removes: on `None`, at most [`INPUT_KEPT_BYTES_MAX`] bytes are left. A message that lies whole in
    /// one frame is cut from `input` without copying and keeps its allocation alive: copy it before keeping it for long.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Message>, WebSocketFault> {
        loop {
            match self.continue_frame(input)? {
                Progress::Whole => return self.finish_message().map(Some),
                Progress::Waiting => return Ok(None),
                Progress::NextFrame => (),
            }
            let Some(head) = self.read_head(input)? else { return Ok(None) };
            let whole = input.len() - head.head_len >= head.payload_len;
            if head.first.opcode.is_control() {
                return if whole { control(head.first.opcode, cut(input, &head)).map(Some) } else { Ok(None) };
            }
            if whole && head.first.fin && self.assembly.is_none() {
                return data(head.first.opcode, cut(input, &head)).map(Some);
            }
            input.advance(head.head_len);
            self.open_frame(&head);
        }
    }

    /// How many bytes of an unfinished message it holds.
    pub fn bytes_held(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| assembly.len())
    }

    /// How many bytes of memory the unfinished message takes, counting what is reserved for its growth.
    pub fn capacity_held(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| assembly.capacity())
    }

    /// Whether a message has begun and its last fragment has not: the peer owes bytes.
    pub fn is_mid_message(&self) -> bool {
        self.assembly.is_some()
    }

    fn continue_frame(&mut self, input: &mut BytesMut) -> Result<Progress, WebSocketFault> {
        match &mut self.assembly {
            Some(assembly) => assembly.take(input, self.limits.message_bytes_max),
            None => Ok(Progress::NextFrame),
        }
    }

    /// Reads a frame's head without removing it. The checks stand in the order of the bytes, so that the verdict is the same however they arrive.
    fn read_head(&self, input: &[u8]) -> Result<Option<Head>, WebSocketFault> {
        let Some(&first) = input.first() else { return Ok(None) };
        let first = FirstByte::parse(first)?;
        self.check_order(first)?;
        let Some(&second) = input.get(1) else { return Ok(None) };
        let second = SecondByte::parse(second, first.opcode)?;
        self.check_masked(second)?;
        let Some((len, len_bytes)) = second.payload_len(&input[2..])? else { return Ok(None) };
        let payload_len = self.check_size(first.opcode, len)?;
        let unmasked_head = 2 + len_bytes;
        if !second.masked {
            return Ok(Some(Head { first, mask: None, head_len: unmasked_head, payload_len }));
        }
        let mask = input[unmasked_head..].first_chunk().copied();
        Ok(mask.map(|mask| Head { first, mask: Some(mask), head_len: unmasked_head + 4, payload_len }))
    }

    // RFC 6455, 5.4: fragments of one message are not interleaved with another's; 5.2: RSV1 to RSV3 must be 0 unless agreed.
    fn check_order(&self, first: FirstByte) -> Result<(), WebSocketFault> {
        if first.rsv1 {
            return Err(WebSocketFault::ReservedBits);
        }
        match (&self.assembly, first.opcode) {
            (_, opcode) if opcode.is_control() => Ok(()),
            (None, Opcode::Continuation) => Err(WebSocketFault::UnexpectedContinuation),
            (Some(assembly), Opcode::Continuation) if assembly.fragments() >= self.limits.fragments_max => {
                Err(WebSocketFault::TooManyFragments { max: self.limits.fragments_max })
            }
            (Some(_), Opcode::Text | Opcode::Binary) => Err(WebSocketFault::ExpectedContinuation),
            _ => Ok(()),
        }
    }

    // RFC 6455, 5.1: a server closes upon an unmasked frame, a client upon a masked one.
    fn check_masked(&self, second: SecondByte) -> Result<(), WebSocketFault> {
        match (self.role, second.masked) {
            (Role::Server, false) => Err(WebSocketFault::UnmaskedFrame),
            (Role::Client, true) => Err(WebSocketFault::MaskedFrame),
            _ => Ok(()),
        }
    }

    fn check_size(&self, opcode: Opcode, len: u64) -> Result<usize, WebSocketFault> {
        let Limits { frame_bytes_max, message_bytes_max, .. } = self.limits;
        if !opcode.is_control() && len > frame_bytes_max as u64 {
            return Err(WebSocketFault::FrameTooLarge { len, max: frame_bytes_max });
        }
        let message_len = len.saturating_add(self.bytes_held() as u64);
        if !opcode.is_control() && message_len > message_bytes_max as u64 {
            return Err(WebSocketFault::MessageTooLarge { len: message_len, max: message_bytes_max });
        }
        Ok(usize::try_from(len).expect("a length within the limits fits in memory"))
    }

    fn open_frame(&mut self, head: &Head) {
        let assembly = self.assembly.get_or_insert_with(|| Box::new(Assembly::new(head.first.opcode)));
        assembly.open_frame(head);
    }

    fn finish_message(&mut self) -> Result<Message, WebSocketFault> {
        self.assembly.take().expect("a message that is whole was being put together").finish()
    }
}

/// Cuts a frame off the input and returns its payload, unmasked.
fn cut(input: &mut BytesMut, head: &Head) -> Bytes {
    input.advance(head.head_len);
    if let Some(mask) = head.mask {
        apply_mask(&mut input[..head.payload_len], mask);
    }
    input.split_to(head.payload_len).freeze()
}

fn control(opcode: Opcode, payload: Bytes) -> Result<Message, WebSocketFault> {
    match opcode {
        Opcode::Ping => Ok(Message::Ping(payload)),
        Opcode::Pong => Ok(Message::Pong(payload)),
        _ => close::decode(&payload),
    }
}

fn data(opcode: Opcode, payload: Bytes) -> Result<Message, WebSocketFault> {
    if opcode == Opcode::Binary {
        return Ok(Message::Binary(payload));
    }
    std::str::from_utf8(&payload).map_err(|_| WebSocketFault::InvalidUtf8)?;
    Ok(Message::Text(payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_decoder_is_small() {
        assert!(size_of::<Decoder>() <= 56, "{} bytes", size_of::<Decoder>());
    }
}
