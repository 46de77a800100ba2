//! Inflates compressed messages. Those that many subscribers get are the same bytes and are inflated once, so that the driver stays
//! small beside the server.

use flate2::{Decompress, FlushDecompress, Status};

/// The message that was inflated last, in both forms.
#[derive(Debug)]
pub(super) struct Inflated {
    inflate: Decompress,
    compressed: Vec<u8>,
    message: Vec<u8>,
}

impl Inflated {
    /// The message that these bytes stand for; as far as they can be read, if they are no DEFLATE.
    pub(super) fn of(&mut self, compressed: &[u8]) -> &[u8] {
        if self.compressed != compressed {
            self.compressed.clear();
            self.compressed.extend_from_slice(compressed);
            self.message.clear();
            self.inflate.reset(false);
            while self.message.len() < MESSAGE_BYTES_MAX && self.step() {}
        }
        &self.message
    }

    /// Inflates as much as there is room for, and tells whether there may be more.
    fn step(&mut self) -> bool {
        self.message.reserve(self.message.len().max(4096));
        let taken = self.inflate.total_in() as usize;
        let status = self.inflate.decompress_vec(&self.compressed[taken..], &mut self.message, FlushDecompress::Sync);
        matches!(status, Ok(Status::Ok)) && self.message.len() == self.message.capacity()
    }
}

impl Default for Inflated {
    fn default() -> Self {
        Self { inflate: Decompress::new(false), compressed: Vec::new(), message: Vec::new() }
    }
}

const MESSAGE_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use bongsu_core::websocket::deflate::{DeflateConfig, Deflater, Direction};

    use super::*;

    #[test]
    fn reads_what_the_core_compresses() {
        let mut deflater = Deflater::new(Direction { context_takeover: false, window_bits: 15 }, &DeflateConfig::default());
        let mut inflated = Inflated::default();
        for text in ["one and one and ".repeat(20), "two and two and ".repeat(20_000), "one and one and ".repeat(20)] {
            let compressed = deflater.compress(text.as_bytes()).expect("it gains").to_vec();
            assert_eq!(inflated.of(&compressed), text.as_bytes());
            assert_eq!(inflated.of(&compressed), text.as_bytes());
        }
    }
}
