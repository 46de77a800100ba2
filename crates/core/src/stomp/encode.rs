//! Frames to bytes.

use bytes::{BufMut, BytesMut};

use super::Version;
use super::escape::Escapes;
use super::frame::{Frame, FrameCommand};

/// Writes a frame. A body is given its `content-length`, unless the frame has one.
pub fn write_frame(version: Version, frame: &Frame, out: &mut BytesMut) {
    let mut head = HeadWriter::new(version, frame.command, out);
    for (name, value) in &frame.headers {
        head.header(name, value);
    }
    let length_known = frame.get("content-length").is_some() || frame.body.is_empty();
    if !length_known {
        head.number("content-length", frame.body.len());
    }
    head.body(&frame.body);
}

/// Writes a frame from its command to its body.
pub(super) struct HeadWriter<'a> {
    escapes: Escapes,
    out: &'a mut BytesMut,
}

impl<'a> HeadWriter<'a> {
    pub(super) fn new(version: Version, command: FrameCommand, out: &'a mut BytesMut) -> Self {
        out.put_slice(command.as_str().as_bytes());
        out.put_u8(b'\n');
        let escapes = if command.is_escaped() { Escapes::of(version) } else { Escapes::None };
        Self { escapes, out }
    }

    pub(super) fn header(&mut self, name: &str, value: &str) {
        self.escapes.write_name(name, self.out);
        self.out.put_u8(b':');
        self.escapes.write_value(value, self.out);
        self.out.put_u8(b'\n');
    }

    /// A header whose value is put together of two.
    pub(super) fn header_in_two(&mut self, name: &str, first: &str, second: &str) {
        self.out.put_slice(name.as_bytes());
        self.out.put_u8(b':');
        self.escapes.write_value(first, self.out);
        self.escapes.write_value(second, self.out);
        self.out.put_u8(b'\n');
    }

    /// A header of characters that need no escape.
    pub(super) fn plain(&mut self, name: &str, write: impl FnOnce(&mut BytesMut)) {
        self.out.put_slice(name.as_bytes());
        self.out.put_u8(b':');
        write(self.out);
        self.out.put_u8(b'\n');
    }

    pub(super) fn number(&mut self, name: &str, value: usize) {
        self.plain(name, |out| out.put_slice(itoa::Buffer::new().format(value).as_bytes()));
    }

    pub(super) fn body(self, body: &[u8]) {
        self.out.put_u8(b'\n');
        self.out.put_slice(body);
        self.out.put_u8(0);
    }
}
