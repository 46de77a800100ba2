//! A request's target: its path, percent-decoded once, and the parameters of its query.

use std::borrow::Cow;

use bongsu_core::{ChannelName, NameFault};
use memchr::{memchr, memchr_iter, memchr2};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::text::{split, split_once};

/// A target, taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The path, still encoded.
    pub path: &'a str,
    query: &'a str,
}

impl<'a> Target<'a> {
    /// Takes an origin-form or absolute-form target apart (RFC 9112, 3.2).
    pub fn parse(text: &'a str) -> Self {
        let absolute = if text.starts_with('/') { None } else { text.split_once("://") };
        // The authority of an absolute form means the same as Host, which is checked.
        let rest = absolute.map_or(text, |(_, rest)| rest.find('/').map_or("/", |slash| &rest[slash..]));
        let (path, query) = split_once(rest, b'?').unwrap_or((rest, ""));
        Self { path, query }
    }

    /// All parameters, decoded. A parameter without `=` has an empty value.
    pub fn parameters(&self) -> impl Iterator<Item = (Decoded<'a>, Decoded<'a>)> + use<'a> {
        let plain = memchr2(b'+', b'%', self.query.as_bytes()).is_none();
        let decoded = move |text| if plain { Decoded::Plain(text) } else { Decoded::of_form(text) };
        split(self.query, b'&').filter(|pair| !pair.is_empty()).map(move |pair| {
            let (name, value) = split_once(pair, b'=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
    }
}

/// A text that was percent-decoded once, if there was anything to decode. What was need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// It stood there as it is.
    Plain(&'a str),
    /// It was encoded.
    Bytes(Vec<u8>),
}

impl<'a> Decoded<'a> {
    /// Decodes a part of a path.
    pub fn of_path(text: &'a str) -> Self {
        match memchr(b'%', text.as_bytes()) {
            Some(_) => Self::Bytes(percent_decode_str(text).collect()),
            None => Self::Plain(text),
        }
    }

    /// In a query `+` is a space, as forms write it.
    fn of_form(text: &'a str) -> Self {
        match memchr2(b'+', b'%', text.as_bytes()) {
            Some(_) => Self::Bytes(percent_decode_str(&text.replace('+', " ")).collect()),
            None => Self::Plain(text),
        }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Plain(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Its text; what is not UTF-8 in it is replaced.
    pub fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Bytes(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// The name of a channel.
    pub fn to_channel(&self) -> Result<ChannelName, NameFault> {
        match self {
            Self::Plain(text) => ChannelName::parse(text),
            Self::Bytes(bytes) => ChannelName::from_bytes(bytes),
        }
    }
}

/// Whether every `%` is followed by two hexadecimal digits (RFC 3986, 2.1).
pub fn is_well_encoded(text: &str) -> bool {
    let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    memchr_iter(b'%', text.as_bytes()).all(|at| text.as_bytes().get(at + 1..at + 3).is_some_and(hex))
}

/// A channel's name as it stands in a path.
pub fn encode_path(name: &str) -> Cow<'_, str> {
    utf8_percent_encode(name, PATH).into()
}

/// A value as it stands in a query.
pub fn encode_query(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, QUERY).into()
}

const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/').remove(b'$');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_target_apart() {
        let target = Target::parse("/channels/a%2Fb?after=e-1&live&x=a+b%2B");
        let parameters: Vec<_> = target.parameters().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        assert_eq!(target.path, "/channels/a%2Fb");
        assert_eq!(parameters, [(b"after".to_vec(), b"e-1".to_vec()), (b"live".to_vec(), b"".to_vec()), (b"x".to_vec(), b"a b+".to_vec())]);
        assert_eq!(Target::parse("http://h/p?q").path, "/p");
        assert_eq!(Target::parse("http://h").path, "/");
        assert_eq!(Target::parse("/a://b").path, "/a://b");
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let name = "봉수/a b?%&";
        assert_eq!(Decoded::of_path(&encode_path(name)).as_bytes(), name.as_bytes());
        assert_eq!(Decoded::of_path(&encode_query(name)).into_text(), name);
        assert_eq!(encode_path("chat/lobby"), "chat/lobby");
    }
}
