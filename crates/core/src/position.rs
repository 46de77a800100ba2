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

    /// Reads the written form. Fails on what cannot stand in any epoch; what no epoch of this server is comes out as none.
    fn parse(text: &[u8]) -> Result<Option<Self>, CursorFault> {
        let digit = |byte: u8| DIGITS[usize::from(byte)];
        let strange = text.iter().fold(0, |strange, &byte| strange | digit(byte)) & NO_DIGIT;
        match text {
            [] => Err(CursorFault),
            _ if strange != 0 || text.len() > 32 => Err(CursorFault),
            // Ten digits never pass what 64 bits hold; eleven can.
            [first @ .., last] if text.len() == EPOCH_LEN => {
                let bits = first.iter().fold(0, |bits: u64, &byte| bits * 62 + u64::from(digit(byte)));
                let bits = bits.checked_mul(62).and_then(|bits| bits.checked_add(u64::from(digit(*last))));
                Ok(bits.map(Self))
            }
            _ => Ok(None),
        }
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
        let dash = text.bytes().position(|byte| byte == b'-').ok_or(CursorFault)?;
        let epoch = Epoch::parse(&text.as_bytes()[..dash])?;
        let offset = parse_offset(&text.as_bytes()[dash + 1..])?;
        let position = epoch.map(|epoch| Position::new(epoch, offset));
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

fn parse_offset(text: &[u8]) -> Result<Offset, CursorFault> {
    if !(1..=20).contains(&text.len()) || !text.iter().all(u8::is_ascii_digit) {
        return Err(CursorFault);
    }
    // Twenty digits can pass what 64 bits hold; such an offset lies in any log's future.
    Ok(text.iter().fold(0, |offset: Offset, &digit| offset.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// How many characters an epoch has when this server writes it: 62^11 is just over 2^64.
pub const EPOCH_LEN: usize = 11;

/// The digits of base 62, in order.
pub(crate) const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What each byte is worth as a digit of base 62.
static DIGITS: [u8; 256] = digits();
/// A bit that no digit has.
const NO_DIGIT: u8 = 0x80;

const fn digits() -> [u8; 256] {
    let mut digits = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < ALPHABET.len() {
        digits[ALPHABET[digit] as usize] = digit as u8;
        digit += 1;
    }
    digits
}

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
