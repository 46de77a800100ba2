//! A request's target: its path, percent-decoded once, and the parameters of its query.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

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
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Self { path, query }
    }

    /// All parameters, decoded. A parameter without `=` has an empty value.
    pub fn parameters(&self) -> impl Iterator<Item = (Cow<'a, [u8]>, Cow<'a, [u8]>)> + use<'a> {
        self.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_form(name), decode_form(value))
        })
    }
}

/// Percent-decodes once.
pub fn decode(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

/// Whether every `%` is followed by two hexadecimal digits (RFC 3986, 2.1).
pub fn is_well_encoded(text: &str) -> bool {
    let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    memchr::memchr_iter(b'%', text.as_bytes()).all(|at| text.as_bytes().get(at + 1..at + 3).is_some_and(hex))
}

/// A channel's name as it stands in a path.
pub fn encode_path(name: &str) -> Cow<'_, str> {
    utf8_percent_encode(name, PATH).into()
}

/// A value as it stands in a query.
pub fn encode_query(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, QUERY).into()
}

/// In a query `+` is a space, as forms write it.
fn decode_form(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') { Cow::Owned(percent_decode_str(&text.replace('+', " ")).collect()) } else { decode(text) }
}

const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/').remove(b'$');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_target_apart() {
        let target = Target::parse("/channels/a%2Fb?after=e-1&live&x=a+b%2B");
        let parameters: Vec<_> = target.parameters().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
        assert_eq!(target.path, "/channels/a%2Fb");
        assert_eq!(parameters, [(b"after".to_vec(), b"e-1".to_vec()), (b"live".to_vec(), b"".to_vec()), (b"x".to_vec(), b"a b+".to_vec())]);
        assert_eq!(Target::parse("http://h/p?q").path, "/p");
        assert_eq!(Target::parse("http://h").path, "/");
        assert_eq!(Target::parse("/a://b").path, "/a://b");
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let name = "봉수/a b?%&";
        assert_eq!(decode(&encode_path(name)), name.as_bytes());
        assert_eq!(decode(&encode_query(name)), name.as_bytes());
        assert_eq!(encode_path("chat/lobby"), "chat/lobby");
    }
}
