//! How each version writes what would otherwise end a header: `\n`, `\c`, `\\`, and from 1.2 on `\r`.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::Version;

/// The escapes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// None: 1.0, and the frames of connecting in any version.
    None,
    /// LF, colon and backslash.
    Stomp11,
    /// And CR.
    Stomp12,
}

impl Escapes {
    pub(super) const fn of(version: Version) -> Self {
        match version {
            Version::V1_0 => Self::None,
            Version::V1_1 => Self::Stomp11,
            Version::V1_2 => Self::Stomp12,
        }
    }

    /// Undoes the escapes; `None` if one is unknown.
    pub(super) fn undo(self, text: &str) -> Option<Cow<'_, str>> {
        if self == Self::None || memchr::memchr(b'\\', text.as_bytes()).is_none() {
            return Some(Cow::Borrowed(text));
        }
        let mut out = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            out.push(if char == '\\' { self.meaning(chars.next()?)? } else { char });
        }
        Some(Cow::Owned(out))
    }

    // STOMP 1.2, "Value Encoding": undefined escape sequences MUST be treated as a fatal protocol error.
    fn meaning(self, char: char) -> Option<char> {
        match char {
            'n' => Some('\n'),
            'c' => Some(':'),
            '\\' => Some('\\'),
            'r' if self == Self::Stomp12 => Some('\r'),
            _ => None,
        }
    }

    pub(super) fn write_name(self, name: &str, out: &mut BytesMut) {
        self.write(name, true, out);
    }

    pub(super) fn write_value(self, value: &str, out: &mut BytesMut) {
        self.write(value, false, out);
    }

    fn write(self, text: &str, is_name: bool, out: &mut BytesMut) {
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r' | b':' | b'\\' | 0)) {
            out.put_slice(&rest[..at]);
            self.write_special(rest[at], is_name, out);
            rest = &rest[at + 1..];
        }
        out.put_slice(rest);
    }

    fn write_special(self, byte: u8, is_name: bool, out: &mut BytesMut) {
        match (self, byte) {
            // A NUL ends a frame for many readers, wherever it stands.
            (_, 0) => out.put_slice("\u{fffd}".as_bytes()),
            // Without escapes a line break cannot be said, nor a colon in a name.
            (Self::None, b'\n' | b'\r') => out.put_u8(b' '),
            (Self::None, b':') if is_name => out.put_u8(b'_'),
            (Self::None, byte) => out.put_u8(byte),
            (_, b'\n') => out.put_slice(b"\\n"),
            (_, b':') => out.put_slice(b"\\c"),
            (_, b'\\') => out.put_slice(b"\\\\"),
            (Self::Stomp12, b'\r') => out.put_slice(b"\\r"),
            (_, byte) => out.put_u8(byte),
        }
    }
}
