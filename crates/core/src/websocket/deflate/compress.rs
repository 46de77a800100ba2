//! Compressing what we send. One deflater serves every frame of its window; with context takeover, one connection.

use bytes::BytesMut;
use flate2::{Compress, Compression, FlushCompress};

use super::super::{FrameShape, Opcode, write_shaped_frame};
use super::{DeflateConfig, Direction, TAIL, WINDOW_BITS_MAX, WINDOW_BITS_MIN};

/// Compresses messages of one direction, and sends as they are those that would gain nothing.
#[derive(Debug)]
pub struct Deflater {
    compress: Compress,
    context_takeover: bool,
    threshold_bytes: usize,
    scratch: Vec<u8>,
}

impl Deflater {
    /// A deflater for what was agreed, or for a direction chosen to suit many.
    ///
    /// Without context takeover, what it lays may go to every connection that agreed to the same window or a larger one, with
    /// or without context takeover: agreeing allows a message to refer back, and demands nothing.
    pub fn new(direction: Direction, config: &DeflateConfig) -> Self {
        let window_bits = direction.window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        let level = Compression::new(u32::from(config.level.clamp(1, 9)));
        Self {
            compress: Compress::new_with_window_bits(level, false, window_bits),
            context_takeover: direction.context_takeover,
            threshold_bytes: config.threshold_bytes,
            scratch: Vec::new(),
        }
    }

    /// Lays a server's final frame, compressed where that makes it shorter, and tells whether it did.
    pub fn compress_frame(&mut self, opcode: Opcode, payload: &[u8], out: &mut BytesMut) -> bool {
        self.compress_shaped_frame(FrameShape::whole(opcode), payload, out)
    }

    /// Lays the final frame of a shape, such as a client's, compressed where that makes it shorter, and tells whether it did.
    pub fn compress_shaped_frame(&mut self, shape: FrameShape, payload: &[u8], out: &mut BytesMut) -> bool {
        let compressed = if shape.opcode.is_control() { None } else { self.compress(payload) };
        match compressed {
            Some(compressed) => write_shaped_frame(out, FrameShape { compressed: true, ..shape }, compressed),
            None => write_shaped_frame(out, shape, payload),
        }
        compressed.is_some()
    }

    /// The compressed payload of a message, or `None` where it is to be sent as it is.
    pub fn compress(&mut self, payload: &[u8]) -> Option<&[u8]> {
        self.scratch.truncate(SCRATCH_BYTES_KEPT);
        self.scratch.shrink_to(SCRATCH_BYTES_KEPT);
        if payload.is_empty() || payload.len() < self.threshold_bytes {
            return None;
        }
        if !self.context_takeover {
            self.compress.reset();
        }
        let len = self.fill_scratch(payload)?;
        let compressed = &self.scratch[..len];
        // RFC 7692, 7.2.1: a flush ends in an empty block, whose last four bytes are not sent.
        Some(compressed.strip_suffix(&TAIL).expect("a flushed block ends in the tail"))
    }

    /// Compresses into the scratch buffer; `None` as soon as it is clear that nothing is gained.
    fn fill_scratch(&mut self, payload: &[u8]) -> Option<usize> {
        let enough = payload.len() + TAIL.len();
        self.make_room(enough.min(payload.len() / 2 + ROOM_BYTES_MIN));
        let (mut taken, mut filled) = (0, 0);
        loop {
            let (before_in, before_out) = (self.compress.total_in(), self.compress.total_out());
            let outcome = self.compress.compress(&payload[taken..], &mut self.scratch[filled..], FlushCompress::Sync);
            outcome.expect("a deflater that was given room does not fail");
            taken += (self.compress.total_in() - before_in) as usize;
            filled += (self.compress.total_out() - before_out) as usize;
            // With context takeover every message that went in must go out: the peer's window has to follow ours.
            if filled >= enough && !self.context_takeover {
                return None;
            }
            if filled < self.scratch.len() {
                return Some(filled);
            }
            self.make_room(filled * 2 + ROOM_BYTES_MIN);
        }
    }

    fn make_room(&mut self, len: usize) {
        if self.scratch.len() < len {
            self.scratch.resize(len, 0);
        }
    }
}

/// Room with which a flush always gets done, once all input is taken: zlib wants more than six bytes.
const ROOM_BYTES_MIN: usize = 64;

/// What is kept of the scratch buffer between messages.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;
