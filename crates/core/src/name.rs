//! The name of a channel, checked once at the edge and trusted from there on.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest channel name, in bytes of UTF-8.
pub const CHANNEL_NAME_BYTES_MAX: usize = 255;

/// A channel's name: 1 to 255 bytes of UTF-8, non-empty segments joined by `/`, no control characters, no segment `.` or `..`.
///
/// Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

/// Why a text is not a channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing stands where the name should.
    #[error("the channel name is empty; give 1 to 255 bytes such as chat/lobby")]
    Empty,
    /// More bytes than a name may have.
    #[error("the channel name has {len} bytes; at most 255 are allowed")]
    TooLong {
        /// How many bytes were given.
        len: usize,
    },
    /// The bytes are not UTF-8.
    #[error("the channel name is not UTF-8")]
    NotUtf8,
    /// Two slashes in a row, or one at either end.
    #[error("the channel name has an empty segment; write chat/lobby without a leading, trailing or doubled slash")]
    EmptySegment,
    /// A segment that is `.` or `..`.
    #[error("the channel name has a segment that is . or .., which paths would swallow")]
    DottedSegment,
    /// A control character, such as a line feed.
    #[error("the channel name has a control character")]
    ControlCharacter,
}

impl ChannelName {
    /// Checks a text and makes it a name.
    pub fn parse(text: &str) -> Result<Self, NameFault> {
        check(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// Checks bytes that came from outside and makes them a name.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NameFault> {
        if bytes.len() > CHANNEL_NAME_BYTES_MAX {
            return Err(NameFault::TooLong { len: bytes.len() });
        }
        Self::parse(std::str::from_utf8(bytes).map_err(|_| NameFault::NotUtf8)?)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the first segment begins with `$`: such channels are the server's own.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), NameFault> {
    if text.is_empty() {
        return Err(NameFault::Empty);
    }
    if text.len() > CHANNEL_NAME_BYTES_MAX {
        return Err(NameFault::TooLong { len: text.len() });
    }
    let has_control = if text.is_ascii() { text.bytes().any(|byte| byte.is_ascii_control()) } else { text.chars().any(char::is_control) };
    if has_control {
        return Err(NameFault::ControlCharacter);
    }
    text.as_bytes().split(|&byte| byte == b'/').try_for_each(|segment| match segment {
        b"" => Err(NameFault::EmptySegment),
        b"." | b".." => Err(NameFault::DottedSegment),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_segments_of_any_script() {
        for text in ["a", "chat/lobby", "$presence/chat", "봉수/서울", "a b", "...", "a/.b/c..", &"x".repeat(255)] {
            assert_eq!(ChannelName::parse(text).expect(text).as_str(), text);
        }
    }

    #[test]
    fn names_each_fault() {
        let long = "x".repeat(256);
        for (text, fault) in [
            ("", NameFault::Empty),
            (long.as_str(), NameFault::TooLong { len: 256 }),
            ("/a", NameFault::EmptySegment),
            ("a/", NameFault::EmptySegment),
            ("a//b", NameFault::EmptySegment),
            ("a/../b", NameFault::DottedSegment),
            (".", NameFault::DottedSegment),
            ("a\nb", NameFault::ControlCharacter),
            ("a\u{7f}", NameFault::ControlCharacter),
        ] {
            assert_eq!(ChannelName::parse(text), Err(fault), "{text:?}");
        }
        assert_eq!(ChannelName::from_bytes(b"\xff"), Err(NameFault::NotUtf8));
    }

    #[test]
    fn knows_the_servers_own_names() {
        assert!(ChannelName::parse("$presence/a").expect("a name").is_reserved());
        assert!(!ChannelName::parse("a/$b").expect("a name").is_reserved());
    }
}
