//! The deflaters that a worker's connections share: one for each window, so that a frame is compressed once for all who get it.

use std::cell::{Cell, RefCell};

use bytes::BytesMut;

use super::super::{Opcode, write_frame};
use super::{DeflateConfig, Deflater, Direction, WINDOW_BITS_MAX, WINDOW_BITS_MIN};

/// How far back a compressed message may refer. Connections with the same window share their compressed frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window(u8);

impl Window {
    /// How many windows there are.
    pub const COUNT: usize = (WINDOW_BITS_MAX - WINDOW_BITS_MIN + 1) as usize;

    /// The window of so many bits, 9 to 15.
    pub const fn of_bits(bits: u8) -> Option<Self> {
        if bits >= WINDOW_BITS_MIN && bits <= WINDOW_BITS_MAX { Some(Self(bits)) } else { None }
    }

    /// A number of its own, below `COUNT`.
    pub const fn index(self) -> usize {
        (self.0 - WINDOW_BITS_MIN) as usize
    }
}

/// What was compressed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compressions {
    /// Messages, each counted once, however many connections got it.
    pub messages: u64,
    /// Bytes of them before.
    pub bytes_in: u64,
    /// Bytes of them after.
    pub bytes_out: u64,
}

/// A deflater for each window, made when it is first used: at most some 2 MiB together. Each message is compressed by itself.
#[derive(Debug)]
pub struct Deflaters {
    config: DeflateConfig,
    // One thread uses it, and no call leads back into it: a borrow never meets another.
    of_windows: RefCell<[Option<Box<Deflater>>; Window::COUNT]>,
    compressions: Cell<Compressions>,
}

impl Deflaters {
    /// Deflaters that compress by a configuration's level and threshold.
    pub fn new(config: DeflateConfig) -> Self {
        Self { config, of_windows: RefCell::default(), compressions: Cell::default() }
    }

    /// Compresses by another configuration from now on.
    pub fn reconfigure(&mut self, config: DeflateConfig) {
        self.config = config;
        self.of_windows = RefCell::default();
    }

    /// Lays a server's message, compressed where that makes it shorter.
    pub fn lay(&self, window: Window, opcode: Opcode, payload: &[u8], out: &mut BytesMut) {
        if payload.len() < self.config.threshold_bytes {
            return write_frame(out, opcode, payload);
        }
        let before = out.len();
        let mut of_windows = self.of_windows.borrow_mut();
        let deflater = of_windows[window.index()].get_or_insert_with(|| {
            let direction = Direction { context_takeover: false, window_bits: window.0 };
            Box::new(Deflater::new(direction, &self.config))
        });
        if deflater.compress_frame(opcode, payload, out) {
            self.count(payload.len(), out.len() - before);
        }
    }

    /// What was compressed so far.
    pub fn compressions(&self) -> Compressions {
        self.compressions.get()
    }

    fn count(&self, bytes_in: usize, bytes_out: usize) {
        let mut compressions = self.compressions.get();
        compressions.messages += 1;
        compressions.bytes_in += bytes_in as u64;
        compressions.bytes_out += bytes_out as u64;
        self.compressions.set(compressions);
    }
}

impl Clone for Deflaters {
    /// The same configuration; what is compressed is made anew, and counted from nothing.
    fn clone(&self) -> Self {
        Self::new(self.config)
    }
}
