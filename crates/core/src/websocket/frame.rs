//! The head of a frame: its first byte, its length, its mask. RFC 6455, 5.2.

use super::WebSocketFault;

/// The longest payload of a control frame. RFC 6455, 5.5.
pub(super) const CONTROL_BYTES_MAX: usize = 125;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message that has begun.
    Continuation = 0x0,
    /// The first fragment, or the whole, of a text message.
    Text = 0x1,
    /// The first fragment, or the whole, of a binary message.
    Binary = 0x2,
    /// The connection closes.
    Close = 0x8,
    /// A ping.
    Ping = 0x9,
    /// A pong.
    Pong = 0xA,
}

impl Opcode {
    /// Whether it is a close, ping or pong, which may come between the fragments of a message.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    fn parse(opcode: u8) -> Result<Self, WebSocketFault> {
        match opcode {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xA => Ok(Self::Pong),
            _ => Err(WebSocketFault::ReservedOpcode { opcode }),
        }
    }
}

/// The first byte of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FirstByte {
    pub(super) fin: bool,
    pub(super) rsv1: bool,
    pub(super) opcode: Opcode,
}

impl FirstByte {
    /// Reads it, refusing what no state of the connection would allow.
    pub(super) fn parse(byte: u8) -> Result<Self, WebSocketFault> {
        if byte & 0x30 != 0 {
            return Err(WebSocketFault::ReservedBits);
        }
        let first = Self { fin: byte & 0x80 != 0, rsv1: byte & 0x40 != 0, opcode: Opcode::parse(byte & 0x0F)? };
        if first.opcode.is_control() && !first.fin {
            return Err(WebSocketFault::FragmentedControl);
        }
        Ok(first)
    }
}

/// The second byte of a frame: whether it is masked, and its length or where that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SecondByte {
    pub(super) masked: bool,
    len: u8,
}

impl SecondByte {
    /// Reads it.
    pub(super) fn parse(byte: u8, opcode: Opcode) -> Result<Self, WebSocketFault> {
        let second = Self { masked: byte & 0x80 != 0, len: byte & 0x7F };
        if opcode.is_control() && usize::from(second.len) > CONTROL_BYTES_MAX {
            return Err(WebSocketFault::ControlTooLong);
        }
        Ok(second)
    }

    /// The payload's length and how many bytes of it followed the second byte; `None` until they have arrived.
    pub(super) fn payload_len(self, following: &[u8]) -> Result<Option<(u64, usize)>, WebSocketFault> {
        match self.len {
            126 => following.first_chunk().map(|bytes| minimal(u16::from_be_bytes(*bytes).into(), 125, 2)).transpose(),
            127 => following.first_chunk().map(|bytes| minimal(u64::from_be_bytes(*bytes), 0xFFFF, 8)).transpose(),
            len => Ok(Some((len.into(), 0))),
        }
    }
}

// RFC 6455, 5.2: "the minimal number of bytes MUST be used to encode the length"; "the most significant bit MUST be 0".
fn minimal(len: u64, shorter_max: u64, bytes: usize) -> Result<(u64, usize), WebSocketFault> {
    if len <= shorter_max {
        return Err(WebSocketFault::NonMinimalLength);
    }
    if len >> 63 != 0 {
        return Err(WebSocketFault::LengthTopBit);
    }
    Ok((len, bytes))
}

/// All of a frame but its payload, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) first: FirstByte,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) head_len: usize,
    pub(super) payload_len: usize,
}
