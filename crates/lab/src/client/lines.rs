//! Cuts a stream of bytes into lines, whatever the chunks it arrives in. For NDJSON.

use bytes::{Buf, Bytes, BytesMut};

use super::fault::ClientFault;

/// Bytes that wait for the end of their line.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: BytesMut,
    /// How far the buffer is known to hold no line end.
    searched: usize,
    line_bytes_max: usize,
}

impl Lines {
    pub(crate) fn new(line_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, line_bytes_max }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole line without its end.
    pub(crate) fn take(&mut self) -> Result<Option<Bytes>, ClientFault> {
        let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            return if self.searched > self.line_bytes_max { Err(ClientFault::contract("a line without end")) } else { Ok(None) };
        };
        let mut line = self.buffer.split_to(self.searched + at);
        self.buffer.advance(1);
        self.searched = 0;
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        Ok(Some(line.freeze()))
    }

    /// Whether the stream broke off in mid-line.
    pub(crate) fn is_unfinished(&self) -> bool {
        !self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_from_any_chunks() {
        let text = b"one\n\ntwo\r\nthree";
        for size in 1..=text.len() {
            let (mut lines, mut got) = (Lines::new(16), Vec::new());
            for chunk in text.chunks(size) {
                lines.push(chunk);
                while let Some(line) = lines.take().expect("short lines") {
                    got.push(line);
                }
            }
            assert_eq!(got, ["one", "", "two"], "chunks of {size}");
            assert!(lines.is_unfinished());
        }
    }

    #[test]
    fn a_line_without_end_is_refused_at_its_bound() {
        let mut lines = Lines::new(4);
        lines.push(b"12345");
        assert!(lines.take().is_err());
    }
}
