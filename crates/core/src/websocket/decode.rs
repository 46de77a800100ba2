//! From bytes to messages. Each WebSocket connection holds one decoder, so an idle one is small and owns nothing on the heap.

use bytes::{Buf, Bytes, BytesMut};

use super::assembly::{Assembly, Progress};
use super::deflate::{Agreed, Inflater, Task};
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
    compression: Compression,
    /// The message that is still arriving; boxed, so that it costs a pointer while there is none.
    assembly: Option<Box<Assembly>>,
}

/// What was agreed about the messages we receive.
#[derive(Debug)]
enum Compression {
    /// They are not compressed.
    None,
    /// Each is compressed by itself, so any inflater will do.
    EachAlone,
    /// They refer back to those before, so that the connection needs an inflater of its own.
    Continued(Inflater),
}

impl Decoder {
    /// A decoder for a connection that has just opened, without compression.
    pub fn new(role: Role, limits: Limits) -> Self {
        Self { role, limits, compression: Compression::None, assembly: None }
    }

    /// A decoder for a connection that has just opened and agreed to permessage-deflate.
    pub fn with_deflate(role: Role, limits: Limits, agreed: &Agreed) -> Self {
        let continued = agreed.incoming(role).context_takeover;
        let compression = if continued { Compression::Continued(Inflater::new()) } else { Compression::EachAlone };
        Self { role, limits, compression, assembly: None }
    }

    /// Takes the next message, inflating with an inflater made for it: for who has no worker's inflater at hand.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Message>, WebSocketFault> {
        self.decode_with(input, &mut Inflater::new())
    }

    /// Takes the next message from the front of `input`, or `None` when it needs more bytes.
    ///
    /// What it has understood it removes: on `None`, at most [`INPUT_KEPT_BYTES_MAX`] bytes are left. A message that lies whole in
    /// one frame is cut from `input` without copying and keeps its allocation alive: copy it before keeping it for long.
    ///
    /// The inflater may serve other connections between two calls: where the agreement demands one of its own, the decoder has it.
    pub fn decode_with(&mut self, input: &mut BytesMut, inflater: &mut Inflater) -> Result<Option<Message>, WebSocketFault> {
        loop {
            match self.continue_frame(input)? {
                Progress::Whole => return self.finish_message(inflater).map(Some),
                Progress::Waiting => return Ok(None),
                Progress::NextFrame => (),
            }
            let Some(head) = self.read_head(input)? else { return Ok(None) };
            let whole = input.len() - head.head_len >= head.payload_len;
            if head.first.opcode.is_control() {
                return if whole { control(head.first.opcode, cut(input, &head)).map(Some) } else { Ok(None) };
            }
            if whole && head.first.fin && self.assembly.is_none() {
                return self.whole_message(cut(input, &head), head.first, inflater).map(Some);
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

    /// Whether it keeps an inflater of its own between messages, which only context takeover demands.
    pub fn keeps_inflater(&self) -> bool {
        matches!(&self.compression, Compression::Continued(inflater) if inflater.is_in_use())
    }

    fn continue_frame(&mut self, input: &mut BytesMut) -> Result<Progress, WebSocketFault> {
        match &mut self.assembly {
            Some(assembly) => {
                let bytes_max = wire_bytes_max(self.limits.message_bytes_max, assembly.is_compressed());
                assembly.take(input, bytes_max)
            }
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
        let payload_len = self.check_size(first, len)?;
        let unmasked_head = 2 + len_bytes;
        if !second.masked {
            return Ok(Some(Head { first, mask: None, head_len: unmasked_head, payload_len }));
        }
        let mask = input[unmasked_head..].first_chunk().copied();
        Ok(mask.map(|mask| Head { first, mask: Some(mask), head_len: unmasked_head + 4, payload_len }))
    }

    // RFC 6455, 5.4: fragments of one message are not interleaved with another's. RFC 7692, 6: RSV1 stands on a message's first frame.
    fn check_order(&self, first: FirstByte) -> Result<(), WebSocketFault> {
        let may_be_compressed = !matches!(self.compression, Compression::None) && matches!(first.opcode, Opcode::Text | Opcode::Binary);
        if first.rsv1 && !may_be_compressed {
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

    fn check_size(&self, first: FirstByte, len: u64) -> Result<usize, WebSocketFault> {
        if first.opcode.is_control() {
            return Ok(len as usize);
        }
        let compressed = first.rsv1 || self.assembly.as_ref().is_some_and(|assembly| assembly.is_compressed());
        let frame_bytes_max = wire_bytes_max(self.limits.frame_bytes_max, compressed);
        let message_bytes_max = wire_bytes_max(self.limits.message_bytes_max, compressed);
        if len > frame_bytes_max as u64 {
            return Err(WebSocketFault::FrameTooLarge { len, max: frame_bytes_max });
        }
        let message_len = len.saturating_add(self.bytes_held() as u64);
        if message_len > message_bytes_max as u64 {
            return Err(WebSocketFault::MessageTooLarge { len: message_len, max: message_bytes_max });
        }
        Ok(usize::try_from(len).expect("a length within the limits fits in memory"))
    }

    fn open_frame(&mut self, head: &Head) {
        let assembly = self.assembly.get_or_insert_with(|| Box::new(Assembly::new(head.first)));
        assembly.open_frame(head);
    }

    fn finish_message(&mut self, inflater: &mut Inflater) -> Result<Message, WebSocketFault> {
        let assembly = self.assembly.take().expect("a message that is whole was being put together");
        let compressed = assembly.is_compressed();
        let (opcode, payload) = assembly.finish()?;
        if compressed { self.inflate(opcode, &payload, inflater) } else { Ok(data(opcode, payload.into())) }
    }

    fn whole_message(&mut self, payload: Bytes, first: FirstByte, inflater: &mut Inflater) -> Result<Message, WebSocketFault> {
        if first.rsv1 {
            return self.inflate(first.opcode, &payload, inflater);
        }
        if first.opcode == Opcode::Text {
            std::str::from_utf8(&payload).map_err(|_| WebSocketFault::InvalidUtf8)?;
        }
        Ok(data(first.opcode, payload))
    }

    fn inflate(&mut self, opcode: Opcode, compressed: &[u8], shared: &mut Inflater) -> Result<Message, WebSocketFault> {
        let (inflater, context_takeover) = match &mut self.compression {
            Compression::Continued(own) => (own, true),
            _ => (shared, false),
        };
        let task = Task { text: opcode == Opcode::Text, context_takeover, message_bytes_max: self.limits.message_bytes_max };
        Ok(data(opcode, inflater.inflate(compressed, task)?.into()))
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

fn data(opcode: Opcode, payload: Bytes) -> Message {
    if opcode == Opcode::Text { Message::Text(payload) } else { Message::Binary(payload) }
}

/// How much of a message may arrive. What will not compress grows, by less than an eighth, and the limits are not to refuse it for that.
fn wire_bytes_max(bytes_max: usize, compressed: bool) -> usize {
    if compressed { bytes_max.saturating_add(bytes_max / 8).saturating_add(64) } else { bytes_max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_decoder_is_small() {
        assert!(size_of::<Decoder>() <= 56, "{} bytes", size_of::<Decoder>());
    }
}
