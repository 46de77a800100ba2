//! JSON at the edge: strings written without detours, and a check that bytes are one JSON value that any reader can read.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The deepest nesting that any limit may allow; the parser itself goes no deeper.
pub const JSON_DEPTH_MAX: usize = 120;

/// Why bytes are no JSON value that the server takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// The bytes are not UTF-8.
    #[error("not JSON: the byte at {at} is not UTF-8")]
    NotUtf8 {
        /// Where the first bad byte stands, counted from 0.
        at: usize,
    },
    /// Arrays and objects within each other, deeper than the limit.
    #[error("the JSON is nested deeper than the limit of {max}; flatten it")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// The text breaks the grammar, or holds what strict readers refuse: half a surrogate pair, a number out of range.
    #[error("not JSON: {reason}")]
    NotJson {
        /// What is wrong, with line and column.
        reason: String,
    },
}

impl JsonFault {
    /// The fault's name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotUtf8 { .. } | Self::NotJson { .. } => "not-json",
            Self::TooDeep { .. } => "too-deep",
        }
    }
}

/// Checks that the bytes are one JSON value, nested no deeper than `depth_max`, and nothing else.
///
/// Stricter than the grammar where a publication could otherwise break its subscribers' readers.
pub fn check_json(bytes: &[u8], depth_max: usize) -> Result<(), JsonFault> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonFault::NotUtf8 { at: error.valid_up_to() })?;
    check_depth(bytes, depth_max)?;
    check_readable(text)
}

/// Checks the nesting alone, before anything that recurses sees the text.
pub(crate) fn check_depth(bytes: &[u8], depth_max: usize) -> Result<(), JsonFault> {
    let max = depth_max.min(JSON_DEPTH_MAX);
    // What opens so few times cannot lie deeper. Most texts need no second look.
    if memchr::memchr2_iter(b'[', b'{', bytes).nth(max).is_none() {
        return Ok(());
    }
    let mut depth = 0usize;
    let mut in_string = false;
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        match (in_string, byte) {
            (true, b'\\') => drop(bytes.next()),
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                depth += 1;
                if depth > max {
                    return Err(JsonFault::TooDeep { max });
                }
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => (),
        }
    }
    Ok(())
}

/// Reads a value of a checked depth to its end and keeps nothing of it.
pub(crate) fn check_readable(text: &str) -> Result<(), JsonFault> {
    serde_json::from_str::<Walk>(text).map(drop).map_err(|error| JsonFault::NotJson { reason: error.to_string() })
}

/// Writes a JSON string, quotes included.
pub fn write_string(text: &str, out: &mut BytesMut) {
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    loop {
        let clean = clean_len(rest);
        out.put_slice(&rest[..clean]);
        let Some(&byte) = rest.get(clean) else { break };
        write_escape(byte, out);
        rest = &rest[clean + 1..];
    }
    out.put_u8(b'"');
}

/// How long a string is as `write_string` writes it, without writing it.
pub fn string_len(text: &str) -> usize {
    let mut len = 2 + text.len();
    let mut rest = text.as_bytes();
    loop {
        rest = &rest[clean_len(rest)..];
        // Where there is one escape there are mostly more.
        let near = &rest[..rest.len().min(ESCAPES_AT_ONCE)];
        if near.is_empty() {
            return len;
        }
        len += usize::from(near.iter().map(|&byte| escape_bytes(byte)).sum::<u8>());
        rest = &rest[near.len()..];
    }
}

/// How many bytes the escape of a byte takes beside the byte itself.
fn escape_bytes(byte: u8) -> u8 {
    let is_short = (byte == b'"') | (byte == b'\\') | (byte == b'\n') | (byte == b'\r') | (byte == b'\t');
    u8::from(is_short) + 5 * u8::from((byte < 0x20) & !is_short)
}

/// Writes a checked JSON value on one line: line breaks, which can only stand between its tokens, become spaces.
pub fn write_on_one_line(value: &[u8], out: &mut BytesMut) {
    out.reserve(value.len());
    let mut rest = value;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        out.put_slice(&rest[..at]);
        out.put_u8(b' ');
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
}

/// Writes bytes in base64, standard alphabet, padded.
pub fn write_base64(data: &[u8], out: &mut BytesMut) {
    let start = out.len();
    out.resize(start + base64_len(data.len()), 0);
    STANDARD.encode_slice(data, &mut out[start..]).expect("four bytes were reserved for every three");
}

/// How long so many bytes are in base64.
pub fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// An escape is at most five bytes longer than what it stands for, and 32 times five are less than 256.
const ESCAPES_AT_ONCE: usize = 32;
/// How much text is passed over at a time.
const BLOCK: usize = 64;

/// How many bytes from the start need no escape.
fn clean_len(bytes: &[u8]) -> usize {
    let near = bytes.len().min(BLOCK);
    let clean = clean_words(&bytes[..near]);
    if clean < BLOCK {
        return clean;
    }
    // Text that began clean mostly goes on so: it is passed over in blocks, which the compiler makes a few instructions each.
    let is_clean = |block: &&[u8]| !block.iter().fold(false, |found, &byte| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\'));
    let blocks = bytes[BLOCK..].chunks_exact(BLOCK).take_while(is_clean).count();
    let passed = BLOCK * (1 + blocks);
    passed + clean_words(&bytes[passed..])
}

/// The same, looked at eight at a time.
fn clean_words(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let below = |value: u64, bound: u64| value.wrapping_sub(ONES * bound) & !value & HIGHS;
        // The lowest mark is exact; a borrow can only make false marks above a true one.
        let marks = below(word, 0x20) | below(word ^ (ONES * u64::from(b'"')), 1) | below(word ^ (ONES * u64::from(b'\\')), 1);
        if marks != 0 {
            return index * 8 + (marks.trailing_zeros() / 8) as usize;
        }
    }
    let dirty = rest.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'));
    words.len() * 8 + dirty.unwrap_or(rest.len())
}

fn write_escape(byte: u8, out: &mut BytesMut) {
    match byte {
        b'"' => out.put_slice(b"\\\""),
        b'\\' => out.put_slice(b"\\\\"),
        b'\n' => out.put_slice(b"\\n"),
        b'\r' => out.put_slice(b"\\r"),
        b'\t' => out.put_slice(b"\\t"),
        _ => {
            let hex = b"0123456789abcdef";
            out.put_slice(b"\\u00");
            out.put_slice(&[hex[usize::from(byte >> 4)], hex[usize::from(byte & 15)]]);
        }
    }
}

/// A value that was read and let go.
struct Walk;

impl<'de> Deserialize<'de> for Walk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Walk {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_written_string_is_read_again(text in "(?s).{0,64}") {
            let mut out = BytesMut::new();
            write_string(&text, &mut out);
            prop_assert!(!out.contains(&b'\n'));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("a JSON string"), text);
        }

        #[test]
        fn finds_the_first_byte_to_escape(bytes in proptest::collection::vec(prop_oneof![200 => Just(b'a'), 1 => any::<u8>()], 0..400)) {
            let expected = bytes.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')).unwrap_or(bytes.len());
            prop_assert_eq!(clean_len(&bytes), expected);
        }

        #[test]
        fn never_panics_and_agrees_with_serde(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let ours = check_json(&bytes, 64).is_ok();
            prop_assert_eq!(ours, serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        }
    }

    #[test]
    fn one_value_and_nothing_else() {
        for text in ["1", " {\"a\":[1,2.5e3,null,true,\"\\ud83d\\ude00\"]} ", "\"\"", "[[[]]]"] {
            assert_eq!(check_json(text.as_bytes(), 3), Ok(()), "{text}");
        }
        for text in ["", "{", "1 2", "nul", "{\"a\":1,}", "'a'", "NaN", "\"\\ud800\"", "1e999", "\u{feff}1"] {
            assert!(matches!(check_json(text.as_bytes(), 3), Err(JsonFault::NotJson { .. })), "{text}");
        }
        assert_eq!(check_json(b"\"\xff\"", 3), Err(JsonFault::NotUtf8 { at: 1 }));
    }

    #[test]
    fn depth_is_counted_outside_strings_and_bounded() {
        assert_eq!(check_json(b"[\"[[[[[[\\\"[[[\"]", 1), Ok(()));
        assert_eq!(check_json(b"[[]]", 1), Err(JsonFault::TooDeep { max: 1 }));
        let deep = "[".repeat(1_000_000);
        assert_eq!(check_json(deep.as_bytes(), usize::MAX), Err(JsonFault::TooDeep { max: JSON_DEPTH_MAX }));
        let allowed = format!("{}{}", "[".repeat(JSON_DEPTH_MAX), "]".repeat(JSON_DEPTH_MAX));
        assert_eq!(check_json(allowed.as_bytes(), usize::MAX), Ok(()));
    }

    #[test]
    fn a_fault_says_where() {
        let fault = check_json(b"{\n  \"a\": oops\n}", 8).expect_err("no JSON");
        assert!(fault.to_string().contains("line 2 column"), "{fault}");
    }
}
