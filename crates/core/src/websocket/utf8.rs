//! UTF-8 checked as it arrives, so that bad text is refused at its first bad byte and not at the end of a long message.

use super::WebSocketFault;

/// Checks text in pieces that may be cut anywhere, also inside a character.
///
/// Between two pieces it remembers what the unfinished character still needs: how many bytes, and the range that the next one
/// must lie in (RFC 3629, 4: the second byte is narrower after E0, ED, F0 and F4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Utf8Check {
    missing: u8,
    low: u8,
    high: u8,
}

impl Utf8Check {
    /// Nothing has arrived yet.
    pub(super) const fn new() -> Self {
        Self { missing: 0, low: 0x80, high: 0xBF }
    }

    /// Checks the next piece.
    pub(super) fn push(&mut self, mut piece: &[u8]) -> Result<(), WebSocketFault> {
        while self.missing > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return Ok(()) };
            self.follow(byte)?;
            piece = rest;
        }
        let Err(error) = std::str::from_utf8(piece) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(WebSocketFault::InvalidUtf8);
        }
        // The piece ends inside a character.
        let (&lead, following) = piece[error.valid_up_to()..].split_first().expect("an unfinished character has a first byte");
        self.lead(lead)?;
        following.iter().try_for_each(|&byte| self.follow(byte))
    }

    /// Checks that the text does not end inside a character.
    pub(super) fn finish(&self) -> Result<(), WebSocketFault> {
        if self.missing == 0 { Ok(()) } else { Err(WebSocketFault::InvalidUtf8) }
    }

    fn lead(&mut self, byte: u8) -> Result<(), WebSocketFault> {
        (self.missing, self.low, self.high) = match byte {
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xE1..=0xEF => (2, 0x80, 0xBF),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return Err(WebSocketFault::InvalidUtf8),
        };
        Ok(())
    }

    fn follow(&mut self, byte: u8) -> Result<(), WebSocketFault> {
        if !(self.low..=self.high).contains(&byte) {
            return Err(WebSocketFault::InvalidUtf8);
        }
        *self = Self { missing: self.missing - 1, ..Self::new() };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The byte at which pieces of one byte are refused; the length where only the end is.
    fn refused_at(bytes: &[u8]) -> Option<usize> {
        let mut check = Utf8Check::new();
        let bad = bytes.iter().position(|byte| check.push(std::slice::from_ref(byte)).is_err());
        bad.or_else(|| check.finish().is_err().then_some(bytes.len()))
    }

    #[test]
    fn refuses_at_the_first_byte_that_no_text_could_have() {
        for (bytes, at) in [
            (&b"a\x80"[..], 1),       // a follower without a lead
            (b"\xC1\x81", 0),         // overlong: two bytes
            (b"\xE0\x9F\x80", 1),     // overlong: three bytes
            (b"\xED\xA0\x80", 1),     // a surrogate
            (b"\xF0\x8F\x80\x80", 1), // overlong: four bytes
            (b"\xF4\x90\x80\x80", 1), // past U+10FFFF
            (b"\xF5", 0),             // far past it
            (b"\xCE\xBA\xE1\xBD", 4), // ends inside a character
            (b"\xE2\x82\x41", 2),     // a character broken off
        ] {
            assert_eq!(refused_at(bytes), Some(at), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_whole_however_it_is_cut(
            bytes in prop_oneof![
                any::<Vec<u8>>(),
                any::<String>().prop_map(String::into_bytes),
                (any::<String>(), any::<[u8; 2]>()).prop_map(|(text, tail)| [text.as_bytes(), &tail].concat()),
            ],
            piece in 1usize..9,
        ) {
            let valid = std::str::from_utf8(&bytes).is_ok();
            let mut check = Utf8Check::new();
            let pieces = bytes.chunks(piece).try_for_each(|chunk| check.push(chunk)).and_then(|()| check.finish());
            prop_assert_eq!(pieces.is_ok(), valid);
            prop_assert_eq!(refused_at(&bytes).is_none(), valid);
        }
    }
}
