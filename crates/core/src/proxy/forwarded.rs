//! `X-Forwarded-For` and `Forwarded` (RFC 7239): the way of a request, each proxy adding at the end from whom it got it. Whoever
//! sends the request can write anything before that, so the way is read from its end, as far as proxies are trusted.

use std::net::IpAddr;

/// The header that a proxy in front adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: 203.0.113.7, 192.0.2.43`
    XForwardedFor,
    /// `Forwarded: for=203.0.113.7, for="[2001:db8::1]:4711";proto=https`
    Forwarded,
}

/// A trusted proxy wrote what cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {name} header of a trusted proxy cannot be read; have it append the address of its client, and nothing else")]
pub struct ForwardedFault {
    /// The header.
    pub name: &'static str,
}

impl ForwardedHeader {
    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// The client of a request that came from a trusted proxy: going back from the end, the first address that is not trusted.
    /// None where a trusted proxy does not say whom it got the request from.
    pub fn client<'a>(
        self,
        lines: impl IntoIterator<Item = &'a str>,
        is_trusted: impl Fn(IpAddr) -> bool,
    ) -> Result<Option<IpAddr>, ForwardedFault> {
        let lines: Vec<&str> = lines.into_iter().collect();
        let fault = ForwardedFault { name: self.name() };
        for line in lines.iter().rev() {
            for element in self.elements(line).ok_or(fault)?.into_iter().rev() {
                match self.hop(element).ok_or(fault)? {
                    Hop::Unknown => return Ok(None),
                    Hop::Address(address) if is_trusted(address) => (),
                    Hop::Address(address) => return Ok(Some(address)),
                }
            }
        }
        Ok(None)
    }

    /// The elements of a line; empty ones mean nothing (RFC 9110, 5.6.1). Only `Forwarded` knows quotes.
    fn elements(self, line: &str) -> Option<Vec<&str>> {
        let mut elements = match self {
            Self::XForwardedFor => line.split(',').collect(),
            Self::Forwarded => split(line, b',')?,
        };
        elements.retain(|element| !element.trim().is_empty());
        Some(elements)
    }

    fn hop(self, element: &str) -> Option<Hop> {
        match self {
            Self::XForwardedFor => node(element),
            Self::Forwarded => {
                let mut pairs = split(element, b';')?.into_iter().filter_map(|pair| pair.split_once('='));
                match pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for")) {
                    // RFC 7239, 4: every parameter may be left out.
                    None => Some(Hop::Unknown),
                    Some((_, value)) => node(unquoted(value.trim())?),
                }
            }
        }
    }
}

/// From whom a proxy got a request.
enum Hop {
    Address(IpAddr),
    /// `unknown` or a name of its own making (RFC 7239, 6).
    Unknown,
}

/// An address, perhaps with a port.
fn node(text: &str) -> Option<Hop> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
        return Some(Hop::Unknown);
    }
    let literal = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
                return None;
            }
            address
        }
        None => match text.split_once(':') {
            // More than one colon: IPv6 as it is.
            Some((address, port)) if !port.contains(':') => Some(address).filter(|_| is_port(port))?,
            _ => text,
        },
    };
    literal.parse::<IpAddr>().ok().map(|address| Hop::Address(address.to_canonical()))
}

/// RFC 7239, 6: a number, or a name of the proxy's own making.
fn is_port(text: &str) -> bool {
    !text.is_empty() && (text.starts_with('_') || text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Splits at a separator that stands in no quoted string. None where a quote is left open: what a client opens, the words that its
/// proxy appends must not be hidden in.
fn split(text: &str, separator: u8) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => (),
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

/// A value without its quotes. No address needs an escape, so that one with a backslash is none.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\'])),
        None => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(header: ForwardedHeader, lines: &[&str]) -> Result<Option<String>, ForwardedFault> {
        let is_trusted = |address: IpAddr| matches!(address, IpAddr::V4(address) if address.octets()[0] == 10) || address.is_loopback();
        header.client(lines.iter().copied(), is_trusted).map(|address| address.map(|address| address.to_string()))
    }

    #[test]
    fn the_first_from_the_end_that_is_not_trusted_is_the_client() {
        use ForwardedHeader::*;
        for (header, lines, told) in [
            (XForwardedFor, &["203.0.113.7"][..], "203.0.113.7"),
            (XForwardedFor, &["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
            (XForwardedFor, &["1.1.1.1", "203.0.113.7, 10.0.0.9"], "203.0.113.7"),
            (XForwardedFor, &["<script>\", 203.0.113.7:1234,"], "203.0.113.7"),
            (XForwardedFor, &["2001:db8::1"], "2001:db8::1"),
            (XForwardedFor, &["[2001:db8::1]:80"], "2001:db8::1"),
            (XForwardedFor, &["::ffff:203.0.113.7"], "203.0.113.7"),
            (XForwardedFor, &["10.0.0.3, 10.0.0.2"], ""),
            (XForwardedFor, &["1.1.1.1, unknown, 10.0.0.2"], ""),
            (XForwardedFor, &[], ""),
            (XForwardedFor, &[" , "], ""),
            (Forwarded, &["for=203.0.113.7"], "203.0.113.7"),
            (Forwarded, &["For=\"[2001:db8::1]:4711\";proto=https;by=10.0.0.1"], "2001:db8::1"),
            (Forwarded, &["for=1.1.1.1, proto=http; FOR = \"203.0.113.7:99\" , for=10.0.0.2"], "203.0.113.7"),
            (Forwarded, &["for=\"1.1.1.1, for=9.9.9.9\", for=203.0.113.7"], "203.0.113.7"),
            (Forwarded, &["for=1.1.1.1, for=_hidden"], ""),
            (Forwarded, &["proto=https"], ""),
        ] {
            assert_eq!(client(header, lines), Ok((!told.is_empty()).then(|| told.to_owned())), "{lines:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_guessed() {
        use ForwardedHeader::*;
        for (header, line) in [
            (XForwardedFor, "203.0.113.7, localhost"),
            (XForwardedFor, "203.0.113.7 1.1.1.1"),
            (XForwardedFor, "203.0.113.07"),
            (XForwardedFor, "203.0.113.7:x"),
            (XForwardedFor, "[2001:db8::1"),
            (XForwardedFor, "[2001:db8::1]80"),
            (Forwarded, "for=\"203.0.113.7"),
            (Forwarded, "for=1.1.1.1;by=\", for=203.0.113.7"),
            (Forwarded, "for=\"203\\.0.113.7\""),
            (Forwarded, "for="),
        ] {
            assert_eq!(client(header, &[line]), Err(ForwardedFault { name: header.name() }), "{line}");
        }
    }

    proptest! {
        /// Whatever a client sends ahead, the address that its proxy appends decides.
        #[test]
        fn nothing_sent_ahead_counts(ahead in "[^\"\r\n]{0,60}", by_header in any::<bool>()) {
            let (header, own) = match by_header {
                true => (ForwardedHeader::XForwardedFor, "203.0.113.7"),
                false => (ForwardedHeader::Forwarded, "for=203.0.113.7"),
            };
            let joined = format!("{ahead}, {own}");
            prop_assert_eq!(client(header, &[&joined]), Ok(Some("203.0.113.7".to_owned())));
            prop_assert_eq!(client(header, &[&ahead, own]), Ok(Some("203.0.113.7".to_owned())));
        }
    }
}
