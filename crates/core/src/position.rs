//! Where a publication stands in its channel, and how that is written: `<epoch>-<offset>`.

use std::fmt;

/// One unbroken life of a channel's log. Positions of different epochs cannot be compared.
///
/// Sixty-four random bits, written as eleven characters of base 62.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

/// How far into an epoch: 1, 2, 3 … without holes. 0 is "before the first".
pub type Offset = u64;

/// The place of a publication in its channel, or, as a cursor, the place of the last one that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The life of the log.
    pub epoch: Epoch,
    /// The place in it.
    pub offset: Offset,
}

/// A cursor as a client gave it: well formed, but perhaps of an epoch that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    text: Box<str>,
    position: Option<Position>,
}

/// Why a text is no cursor. Every other cursor is answered, if need be with a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: write <epoch>-<offset> as the server gave it, by the grammar [0-9A-Za-z]{{1,32}}-[0-9]{{1,20}}")]
pub struct CursorFault;

impl Epoch {
    /// Makes an epoch of random bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits it was made of.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The written form, always eleven characters.
    pub fn to_text(self) -> [u8; EPOCH_LEN] {
        let mut text = [b'0'; EPOCH_LEN];
        let mut rest = self.0;
        for place in text.iter_mut().rev() {
            *place = ALPHABET[(rest % 62) as usize];
            rest /= 62;
        }
        text
    }

    fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != EPOCH_LEN {
            return None;
        }
        let bits = text.iter().try_fold(0u64, |bits, &byte| {
            let digit = ALPHABET.iter().position(|&known| known == byte)? as u64;
            bits.checked_mul(62)?.checked_add(digit)
        });
        bits.map(Self)
    }
}

impl Position {
    /// The position of an offset in an epoch.
    pub const fn new(epoch: Epoch, offset: Offset) -> Self {
        Self { epoch, offset }
    }

    /// Appends the written form to a frame that is being laid.
    pub fn write_to(&self, out: &mut impl bytes::BufMut) {
        out.put_slice(&self.epoch.to_text());
        out.put_u8(b'-');
        out.put_slice(itoa::Buffer::new().format(self.offset).as_bytes());
    }
}

impl Cursor {
    /// Checks the grammar, and nothing else: whether the channel knows it is for the log to say.
    pub fn parse(text: &str) -> Result<Self, CursorFault> {
        let (epoch, offset) = text.split_once('-').ok_or(CursorFault)?;
        let well_formed = (1..=32).contains(&epoch.len())
            && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && (1..=20).contains(&offset.len())
            && offset.bytes().all(|byte| byte.is_ascii_digit());
        if !well_formed {
            return Err(CursorFault);
        }
        // Twenty digits can pass what 64 bits hold; such an offset lies in any log's future.
        let offset = offset.parse().unwrap_or(Offset::MAX);
        let position = Epoch::parse(epoch.as_bytes()).map(|epoch| Position::new(epoch, offset));
        Ok(Self { text: text.into(), position })
    }

    /// The cursor as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The position it names, unless its epoch is none that this server could have written.
    pub fn position(&self) -> Option<Position> {
        self.position
    }
}

impl From<Position> for Cursor {
    fn from(position: Position) -> Self {
        Self { text: position.to_string().into(), position: Some(position) }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_text().iter().try_for_each(|&byte| fmt::Write::write_char(f, char::from(byte)))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How many characters an epoch has when this server writes it: 62^11 is just over 2^64.
pub const EPOCH_LEN: usize = 11;

/// The digits of base 62, in order.
pub(crate) const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(bits: u64, offset: u64) {
            let position = Position::new(Epoch::from_bits(bits), offset);
            let cursor = Cursor::parse(&position.to_string()).expect("own cursors are well formed");
            prop_assert_eq!(cursor.position(), Some(position));
            let mut laid = Vec::new();
            position.write_to(&mut laid);
            prop_assert_eq!(laid, position.to_string().into_bytes());
        }
    }

    #[test]
    fn only_the_grammar_is_an_error() {
        for text in ["", "-", "e", "e-", "-1", "e_1-2", "e-1x", "e--1", "e-+1", "é-1", " e-1"] {
            assert_eq!(Cursor::parse(text), Err(CursorFault), "{text:?}");
        }
        assert!(Cursor::parse(&format!("{}-1", "e".repeat(33))).is_err());
        assert!(Cursor::parse(&format!("e-{}", "1".repeat(21))).is_err());
    }

    #[test]
    fn a_foreign_epoch_and_an_endless_offset_are_cursors() {
        assert_eq!(Cursor::parse("e-1").expect("well formed").position(), None);
        assert_eq!(Cursor::parse("zzzzzzzzzzz-1").expect("well formed").position(), None);
        let endless = Cursor::parse("00000000001-99999999999999999999").expect("well formed");
        assert_eq!(endless.position(), Some(Position::new(Epoch::from_bits(1), Offset::MAX)));
        assert_eq!(endless.as_str(), "00000000001-99999999999999999999");
    }
}
