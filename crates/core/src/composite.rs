//! One cursor for several channels: opaque to clients, safe in URLs and headers, bounded.
//!
//! Parts joined by `.`, each `<tag>_<epoch>-<offset>`, where the tag is six characters made of the channel's name. Should two names
//! share a tag, the epoch of one is foreign to the other, so the worst that comes of it is a gap that is said.

use std::fmt;

use bytes::BufMut;

use crate::name::ChannelName;
use crate::position::{Cursor, Position};

/// A composite cursor as a client gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompositeCursor {
    parts: Vec<(Tag, Cursor)>,
}

/// Why a text is no composite cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompositeFault {
    /// Nothing stands where the cursor should.
    #[error("the cursor of several channels is empty; give it as the server gave it, or leave it out")]
    Empty,
    /// More parts than channels may be asked for at once.
    #[error("the cursor is of more than {max} channels, which is the limit of a request")]
    TooManyParts {
        /// The limit.
        max: usize,
    },
    /// A part breaks the grammar.
    #[error("part {index} is not of the cursor of several channels; give the cursor whole, as the server gave it")]
    BadPart {
        /// Which part, counted from 1.
        index: usize,
    },
    /// Two parts of one channel.
    #[error("part {index} is of a channel that came before; give the cursor as the server gave it")]
    RepeatedPart {
        /// Which part, counted from 1.
        index: usize,
    },
}

/// A composite cursor that follows a connection: it is written anew in place, as far as it changes, when a channel advances.
#[derive(Debug, Clone, Default)]
pub struct Composite {
    /// Each part with a `.` before it, so that all are alike; the first is left out when it is read.
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    tag: Tag,
    start: usize,
    len: usize,
}

type Tag = [u8; TAG_LEN];

const TAG_LEN: usize = 6;

impl CompositeCursor {
    /// Reads a cursor of at most `parts_max` channels.
    pub fn parse(text: &str, parts_max: usize) -> Result<Self, CompositeFault> {
        if text.is_empty() {
            return Err(CompositeFault::Empty);
        }
        let mut parts: Vec<(Tag, Cursor)> = Vec::new();
        for (index, part) in (1..).zip(text.split('.')) {
            if index > parts_max {
                return Err(CompositeFault::TooManyParts { max: parts_max });
            }
            let (tag, cursor) = parse_part(part).ok_or(CompositeFault::BadPart { index })?;
            if parts.iter().any(|(known, _)| *known == tag) {
                return Err(CompositeFault::RepeatedPart { index });
            }
            parts.push((tag, cursor));
        }
        Ok(Self { parts })
    }

    /// The cursor of one channel. A channel that is not in it starts where the request says that new ones start.
    pub fn get(&self, channel: &ChannelName) -> Option<Cursor> {
        let tag = tag_of(channel);
        self.parts.iter().find(|(known, _)| *known == tag).map(|(_, cursor)| cursor.clone())
    }
}

impl Composite {
    /// A cursor of these channels, empty until their positions are told. A channel's index here is its index in `advance`.
    pub fn new<'a>(channels: impl IntoIterator<Item = &'a ChannelName>) -> Self {
        let parts = channels.into_iter().map(|channel| Part { tag: tag_of(channel), start: 0, len: 0 }).collect();
        Self { text: String::new(), parts }
    }

    /// Tells where the channel of this index now stands. An index that is none of its channels changes nothing.
    pub fn advance(&mut self, index: usize, position: Position) {
        self.write(index, |text| position.write_to(text));
    }

    /// Tells the cursor that the channel of this index was asked with, which may be none of ours.
    pub fn ask(&mut self, index: usize, cursor: &Cursor) {
        self.write(index, |text| text.put_slice(cursor.as_str().as_bytes()));
    }

    fn write(&mut self, index: usize, write: impl FnOnce(&mut &mut [u8])) {
        let Some(part) = self.parts.get_mut(index) else { return };
        let mut text = [0u8; PART_BYTES_MAX];
        let len = write_part(part.tag, write, &mut text);
        let written = std::str::from_utf8(&text[..len]).expect("a part is ASCII");
        self.text.replace_range(part.start..part.start + part.len, written);
        let (before, start) = (part.len, part.start);
        part.len = len;
        if before != len {
            self.move_parts_after(index, start + len);
        }
    }

    /// The cursor as it is given to the client.
    pub fn as_str(&self) -> &str {
        self.text.get(1..).unwrap_or_default()
    }

    fn move_parts_after(&mut self, index: usize, mut start: usize) {
        for part in &mut self.parts[index + 1..] {
            part.start = start;
            start += part.len;
        }
    }
}

impl fmt::Display for Composite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `.`, the tag, `_`, an epoch of at most 32 characters, `-` and twenty digits.
const PART_BYTES_MAX: usize = 1 + TAG_LEN + 1 + 32 + 1 + 20;

fn write_part(tag: Tag, write: impl FnOnce(&mut &mut [u8]), out: &mut [u8; PART_BYTES_MAX]) -> usize {
    let mut rest: &mut [u8] = out.as_mut_slice();
    rest.put_u8(b'.');
    rest.put_slice(&tag);
    rest.put_u8(b'_');
    write(&mut rest);
    let left = rest.len();
    PART_BYTES_MAX - left
}

fn parse_part(part: &str) -> Option<(Tag, Cursor)> {
    let (tag, cursor) = part.split_once('_')?;
    let tag: Tag = tag.as_bytes().try_into().ok()?;
    let cursor = Cursor::parse(cursor).ok()?;
    tag.iter().all(u8::is_ascii_alphanumeric).then_some((tag, cursor))
}

/// FNV-1a of the name, folded into six digits of base 62.
fn tag_of(channel: &ChannelName) -> Tag {
    let hash =
        channel.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut rest = hash ^ (hash >> 32);
    let mut tag = [0; TAG_LEN];
    for place in tag.iter_mut().rev() {
        *place = crate::position::ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Epoch;
    use proptest::prelude::*;

    fn channel(text: &str) -> ChannelName {
        ChannelName::parse(text).expect("a name")
    }

    fn position(bits: u64, offset: u64) -> Position {
        Position::new(Epoch::from_bits(bits), offset)
    }

    #[test]
    fn each_channel_gets_its_own_cursor_back() {
        let channels = [channel("chat/lobby"), channel("봉수"), channel("news")];
        let mut composite = Composite::new(&channels);
        assert_eq!(composite.as_str(), "");
        composite.advance(2, position(3, 33));
        composite.advance(0, position(1, 9));
        composite.advance(0, position(1, 10));
        assert!(composite.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
        let read = CompositeCursor::parse(composite.as_str(), 2).expect("own cursors are well formed");
        assert_eq!(read.get(&channels[0]), Some(position(1, 10).into()));
        assert_eq!(read.get(&channels[1]), None, "it has not been told yet");
        assert_eq!(read.get(&channels[2]), Some(position(3, 33).into()));
    }

    #[test]
    fn names_each_fault() {
        let part = "abcdef_e-1";
        for (text, fault) in [
            ("", CompositeFault::Empty),
            ("e-1", CompositeFault::BadPart { index: 1 }),
            ("abcde_e-1", CompositeFault::BadPart { index: 1 }),
            ("abcd%f_e-1", CompositeFault::BadPart { index: 1 }),
            ("abcdef_e", CompositeFault::BadPart { index: 1 }),
            ("abcdef_e-1.", CompositeFault::BadPart { index: 2 }),
            ("abcdef_e-1.abcdef_e-2", CompositeFault::RepeatedPart { index: 2 }),
            ("abcdef_e-1.abcdeg_e-1.abcdeh_e-1", CompositeFault::TooManyParts { max: 2 }),
        ] {
            assert_eq!(CompositeCursor::parse(text, 2), Err(fault), "{text}");
        }
        assert!(CompositeCursor::parse(part, 1).is_ok());
    }

    proptest! {
        #[test]
        fn advancing_in_place_is_the_same_as_writing_anew(
            steps in proptest::collection::vec((0usize..5, any::<u64>(), any::<u64>()), 1..40)
        ) {
            let channels: Vec<_> = ["a", "b/c", "d", "e/f/g", "h"].map(channel).into();
            let mut composite = Composite::new(&channels);
            let mut expected: [Option<Position>; 5] = [None; 5];
            for (index, bits, offset) in steps {
                // Offsets of every length, so that parts grow and shrink.
                let position = position(bits, offset >> (bits % 64));
                composite.advance(index, position);
                expected[index] = Some(position);
                let read = CompositeCursor::parse(composite.as_str(), 5).expect("well formed");
                for (channel, expected) in channels.iter().zip(expected) {
                    prop_assert_eq!(read.get(channel), expected.map(Cursor::from));
                }
            }
        }
    }
}
