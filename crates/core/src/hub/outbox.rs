//! What is one client's own: the rest of a frame that was cut, and replies, pings and goodbyes between frames.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::{Sink, Written};

/// Bytes that leave before any publication. Most of the time a client has none, so the hub keeps it boxed and absent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The rest of a frame of which a part already went out.
    rest: Bytes,
    frames: VecDeque<Bytes>,
    frames_bytes: usize,
    /// When the sink last took anything.
    pub(super) progress_ms: u64,
}

/// The outbox holds all that it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxFull;

impl Outbox {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { progress_ms: now_ms, ..Self::default() }
    }

    /// Sets the rest of a frame that a write cut.
    pub(super) fn cut(&mut self, rest: Bytes) {
        debug_assert!(self.rest.is_empty(), "a frame is cut only when no other is");
        self.rest = rest;
    }

    /// Adds a frame, unless the outbox then held more than `bytes_max`.
    pub(super) fn push(&mut self, frame: Bytes, bytes_max: usize) -> Result<(), OutboxFull> {
        if self.frames_bytes > 0 && self.frames_bytes + frame.len() > bytes_max {
            return Err(OutboxFull);
        }
        self.frames_bytes += frame.len();
        self.frames.push_back(frame);
        Ok(())
    }

    /// Gives up all frames of which nothing went out yet; the rest of a cut frame must still go.
    pub(super) fn discard_frames(&mut self) {
        self.frames.clear();
        self.frames_bytes = 0;
    }

    /// Whether there are frames of which nothing went out yet.
    pub(super) fn has_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.rest.len() + self.frames_bytes
    }

    /// Writes as much as the sink takes.
    pub(super) fn flush(&mut self, sink: &mut impl Sink, now_ms: u64) -> Written {
        loop {
            if self.rest.is_empty() {
                let Some(frame) = self.frames.pop_front() else { return Written::All };
                self.frames_bytes -= frame.len();
                self.rest = frame;
            }
            match sink.try_write(&self.rest) {
                Written::All => self.rest = Bytes::new(),
                Written::Part(written) => {
                    self.progress_ms = if written > 0 { now_ms } else { self.progress_ms };
                    self.rest.advance(written);
                    return Written::Part(written);
                }
                Written::Gone => return Written::Gone,
            }
        }
    }
}
