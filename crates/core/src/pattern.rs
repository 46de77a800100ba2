//! Globs over channel names, for the tables of the configuration: `chat/**`, `sensor/*/temperature`.
//!
//! `*` stands for any run of characters within a segment, also none; `**`, alone in its segment, for any number of segments, also
//! none: `chat/**` is `chat`, `chat/lobby` and `chat/lobby/1`. All else is literal. The server's own channels, which begin with
//! `$`, are only matched by a pattern that itself begins with `$`.

use std::fmt;

use crate::name::{ChannelName, NameFault};

/// A glob over channel names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPattern {
    text: Box<str>,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Any,
    Literal(Box<str>),
    Glob(Box<str>),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// Apart from its stars it could not be a channel's name, so it could never match.
    #[error("no channel can match: {0}")]
    NeverMatches(#[from] NameFault),
    /// `**` beside other characters of a segment.
    #[error("** stands for whole segments; write it alone between slashes, or * within a segment")]
    DoubleStarInSegment,
}

impl ChannelPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        ChannelName::parse(text)?;
        let segments = text.split('/').map(Segment::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), segments })
    }

    /// Whether the channel is one of those meant.
    pub fn matches(&self, channel: &ChannelName) -> bool {
        if channel.is_reserved() && !self.text.starts_with('$') {
            return false;
        }
        let name: Vec<&str> = channel.as_str().split('/').collect();
        matches_run(&self.segments, &name, |segment| *segment == Segment::Any, |segment, text| segment.matches(text))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ChannelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PatternFault> {
        match text {
            "**" => Ok(Self::Any),
            _ if text.contains("**") => Err(PatternFault::DoubleStarInSegment),
            _ if text.contains('*') => Ok(Self::Glob(text.into())),
            _ => Ok(Self::Literal(text.into())),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => false,
            Self::Literal(literal) => **literal == *text,
            Self::Glob(glob) => matches_run(glob.as_bytes(), text.as_bytes(), |&byte| byte == b'*', |a, b| a == b),
        }
    }
}

/// Whether the items follow the pattern, in which a star stands for any run of items.
///
/// Only the last star seen need ever be tried again, so the work is at most the product of the lengths.
fn matches_run<P, T>(pattern: &[P], items: &[T], is_star: impl Fn(&P) -> bool, same: impl Fn(&P, &T) -> bool) -> bool {
    let (mut at, mut item) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while item < items.len() {
        match pattern.get(at) {
            Some(part) if is_star(part) => {
                at += 1;
                retry = Some((at, item));
            }
            Some(part) if same(part, &items[item]) => {
                at += 1;
                item += 1;
            }
            _ => {
                let Some((after_star, first)) = retry else { return false };
                at = after_star;
                item = first + 1;
                retry = Some((after_star, item));
            }
        }
    }
    pattern[at..].iter().all(is_star)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, channel: &str) -> bool {
        let channel = ChannelName::parse(channel).expect("a name");
        ChannelPattern::parse(pattern).expect("a pattern").matches(&channel)
    }

    #[test]
    fn stars_stay_in_their_segment_and_double_stars_span_them() {
        for (pattern, yes, no) in [
            ("chat/lobby", &["chat/lobby"][..], &["chat", "chat/lobby/1", "chat/lobb"][..]),
            ("chat/*", &["chat/a"], &["chat", "chat/a/b"]),
            ("chat/**", &["chat", "chat/a", "chat/a/b"], &["chats", "a/chat"]),
            ("**", &["a", "a/b/c"], &["$presence/a"]),
            ("**/log", &["log", "a/log", "a/b/log"], &["a/log/b", "alog"]),
            ("a/**/z", &["a/z", "a/b/z", "a/b/z/z"], &["a", "a/b"]),
            ("room-*", &["room-", "room-1"], &["room", "room-1/a"]),
            ("*-*-x", &["--x", "a-b-x", "a-b-c-x"], &["a-x", "a-b-xy"]),
            ("$presence/**", &["$presence", "$presence/a"], &["presence/a"]),
            ("봉*", &["봉수"], &["수봉"]),
        ] {
            yes.iter().for_each(|channel| assert!(matches(pattern, channel), "{pattern} should match {channel}"));
            no.iter().for_each(|channel| assert!(!matches(pattern, channel), "{pattern} should not match {channel}"));
        }
    }

    #[test]
    fn names_each_fault() {
        assert_eq!(ChannelPattern::parse(""), Err(NameFault::Empty.into()));
        assert_eq!(ChannelPattern::parse("/chat"), Err(NameFault::EmptySegment.into()));
        assert_eq!(ChannelPattern::parse("a/../*"), Err(NameFault::DottedSegment.into()));
        assert_eq!(ChannelPattern::parse("chat**"), Err(PatternFault::DoubleStarInSegment));
        assert_eq!(ChannelPattern::parse("***"), Err(PatternFault::DoubleStarInSegment));
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_recursive_matcher(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, rest) => rest.is_none(),
                    (Some((b'*', after)), rest) => slow(after, text) || rest.is_some_and(|(_, rest)| slow(pattern, rest)),
                    (Some(_), None) => false,
                    (Some((a, after)), Some((b, rest))) => a == b && slow(after, rest),
                }
            }
            let fast = matches_run(pattern.as_bytes(), text.as_bytes(), |&byte| byte == b'*', |a, b| a == b);
            prop_assert_eq!(fast, slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
