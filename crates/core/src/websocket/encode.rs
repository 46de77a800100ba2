//! From messages to bytes. The server lays final, unmasked frames; clients mask theirs; tests may cut them into fragments.

use bytes::{BufMut, BytesMut};

use super::close::{self, cut_reason};
use super::frame::Opcode;
use super::mask::apply_mask;

/// What a frame's head says beside its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameShape {
    /// What the frame is.
    pub opcode: Opcode,
    /// Whether it is the last of its message.
    pub fin: bool,
    /// Whether the message that it begins is compressed (RFC 7692).
    pub compressed: bool,
    /// The masking key, which only a client gives and which nobody may foresee. RFC 6455, 10.3.
    pub mask: Option<[u8; 4]>,
}

impl FrameShape {
    /// A whole message, or a control frame, as a server sends it.
    pub const fn whole(opcode: Opcode) -> Self {
        Self { opcode, fin: true, compressed: false, mask: None }
    }

    /// Lays the head of a frame.
    fn write_head(self, out: &mut BytesMut, payload_len: usize) {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out.put_u8(u8::from(self.fin) << 7 | u8::from(self.compressed) << 6 | self.opcode as u8);
        match payload_len {
            0..=125 => out.put_u8(masked | payload_len as u8),
            126..=0xFFFF => {
                out.put_u8(masked | 126);
                out.put_u16(payload_len as u16);
            }
            _ => {
                out.put_u8(masked | 127);
                out.put_u64(payload_len as u64);
            }
        }
        out.put_slice(self.mask.as_ref().map_or(&[], |mask| mask));
    }
}

/// Lays the head of a server's final frame; the payload is to follow it.
pub fn write_head(out: &mut BytesMut, opcode: Opcode, payload_len: usize) {
    FrameShape::whole(opcode).write_head(out, payload_len);
}

/// Lays a server's final frame.
pub fn write_frame(out: &mut BytesMut, opcode: Opcode, payload: &[u8]) {
    write_shaped_frame(out, FrameShape::whole(opcode), payload);
}

/// Lays a client's final frame, masked with a key that nobody could foresee.
pub fn write_masked_frame(out: &mut BytesMut, opcode: Opcode, payload: &[u8], mask: [u8; 4]) {
    write_shaped_frame(out, FrameShape { mask: Some(mask), ..FrameShape::whole(opcode) }, payload);
}

/// Lays a frame of any shape: a fragment, a compressed one, a client's.
pub fn write_shaped_frame(out: &mut BytesMut, shape: FrameShape, payload: &[u8]) {
    out.reserve(HEAD_BYTES_MAX + payload.len());
    shape.write_head(out, payload.len());
    let start = out.len();
    out.put_slice(payload);
    if let Some(mask) = shape.mask {
        apply_mask(&mut out[start..], mask);
    }
}

/// Lays a server's close frame. A reason that is too long is cut; [`close::NO_CODE`] gives a close frame without a code.
pub fn write_close(out: &mut BytesMut, code: u16, reason: &str) {
    if code == close::NO_CODE {
        return write_head(out, Opcode::Close, 0);
    }
    let reason = cut_reason(reason);
    write_head(out, Opcode::Close, 2 + reason.len());
    out.put_u16(code);
    out.put_slice(reason.as_bytes());
}

/// The longest head: two bytes, a 64-bit length, a mask.
const HEAD_BYTES_MAX: usize = 2 + 8 + 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        write(&mut out);
        out.to_vec()
    }

    // RFC 6455, 5.7: its own examples.
    #[test]
    fn lays_the_frames_of_the_rfc() {
        assert_eq!(laid(|out| write_frame(out, Opcode::Text, b"Hello")), b"\x81\x05Hello");
        let masked = laid(|out| write_masked_frame(out, Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]));
        assert_eq!(masked, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        let first = FrameShape { fin: false, ..FrameShape::whole(Opcode::Text) };
        assert_eq!(laid(|out| write_shaped_frame(out, first, b"Hel")), b"\x01\x03Hel");
        assert_eq!(laid(|out| write_head(out, Opcode::Binary, 256)), [0x82, 0x7E, 0x01, 0x00]);
        assert_eq!(laid(|out| write_head(out, Opcode::Binary, 65536)), [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_length_takes_the_shortest_form() {
        for (len, head) in [(125, 2), (126, 4), (0xFFFF, 4), (0x1_0000, 10)] {
            assert_eq!(laid(|out| write_head(out, Opcode::Text, len)).len(), head, "{len}");
        }
    }

    #[test]
    fn a_close_frame_stays_a_control_frame() {
        let laid_long = laid(|out| write_close(out, close::POLICY, &"é".repeat(200)));
        assert_eq!(laid_long[..4], [0x88, 124, 0x03, 0xF0]);
        assert!(std::str::from_utf8(&laid_long[4..]).is_ok());
        assert_eq!(laid(|out| write_close(out, close::NO_CODE, "unsaid")), [0x88, 0]);
    }
}
