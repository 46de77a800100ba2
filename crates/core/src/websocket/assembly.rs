//! A message that arrives in pieces: the decoder's state between two frames, and between two reads of one.

use bytes::{Buf, BytesMut};

use super::WebSocketFault;
use super::frame::{FirstByte, Head, Opcode};
use super::mask::{advance_mask, apply_mask};
use super::utf8::Utf8Check;

/// A message of which some bytes have arrived.
#[derive(Debug)]
pub(super) struct Assembly {
    opcode: Opcode,
    compressed: bool,
    payload: Vec<u8>,
    fragments: usize,
    frame: Option<OpenFrame>,
    utf8: Utf8Check,
}

/// A frame whose head has been read and whose payload has not all arrived.
#[derive(Debug)]
struct OpenFrame {
    fin: bool,
    mask: Option<[u8; 4]>,
    missing: usize,
}

/// How far the bytes at hand have brought a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The frame wants more bytes.
    Waiting,
    /// The frame is over and the message is not.
    NextFrame,
    /// The message is over.
    Whole,
}

impl Assembly {
    /// A message of which nothing has arrived but its first frame's first byte.
    pub(super) fn new(first: FirstByte) -> Self {
        Self { opcode: first.opcode, compressed: first.rsv1, payload: Vec::new(), fragments: 0, frame: None, utf8: Utf8Check::new() }
    }

    /// Whether it is to be inflated when it is whole.
    pub(super) fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// How many bytes it holds.
    pub(super) fn len(&self) -> usize {
        self.payload.len()
    }

    /// How many bytes it has room for.
    pub(super) fn capacity(&self) -> usize {
        self.payload.capacity()
    }

    /// How many frames of it have begun.
    pub(super) fn fragments(&self) -> usize {
        self.fragments
    }

    /// Begins the next frame; its head has been checked.
    pub(super) fn open_frame(&mut self, head: &Head) {
        self.fragments += 1;
        self.frame = Some(OpenFrame { fin: head.first.fin, mask: head.mask, missing: head.payload_len });
    }

    /// Moves what belongs to the open frame out of the input, unmasked and, if it is text, checked.
    ///
    /// Compressed text is checked as it is inflated. That waits for the whole message, so that one that never ends takes no more
    /// memory than its bytes.
    pub(super) fn take(&mut self, input: &mut BytesMut, bytes_max: usize) -> Result<Progress, WebSocketFault> {
        let Some(mut frame) = self.frame.take() else { return Ok(Progress::NextFrame) };
        let taken = frame.missing.min(input.len());
        self.make_room(taken, &frame, bytes_max);
        let start = self.payload.len();
        self.payload.extend_from_slice(&input[..taken]);
        input.advance(taken);
        let piece = &mut self.payload[start..];
        if let Some(mask) = &mut frame.mask {
            apply_mask(piece, *mask);
            *mask = advance_mask(*mask, taken);
        }
        if self.opcode == Opcode::Text && !self.compressed {
            self.utf8.push(piece)?;
        }
        frame.missing -= taken;
        Ok(self.after(frame))
    }

    /// What has been put together; text that was not compressed is valid UTF-8.
    pub(super) fn finish(self) -> Result<(Opcode, Vec<u8>), WebSocketFault> {
        self.utf8.finish()?;
        Ok((self.opcode, self.payload))
    }

    fn after(&mut self, frame: OpenFrame) -> Progress {
        match (frame.missing, frame.fin) {
            (0, true) => Progress::Whole,
            (0, false) => Progress::NextFrame,
            _ => {
                self.frame = Some(frame);
                Progress::Waiting
            }
        }
    }

    /// Grows with what has arrived, twofold at most, and never to what a head merely promises or past what the message can become.
    fn make_room(&mut self, arrived: usize, frame: &OpenFrame, bytes_max: usize) {
        let needed = self.payload.len() + arrived;
        if needed <= self.payload.capacity() {
            return;
        }
        let most = if frame.fin { self.payload.len() + frame.missing } else { bytes_max };
        let capacity = needed.max(needed.saturating_mul(2).min(most));
        self.payload.reserve_exact(capacity - self.payload.len());
    }
}
