//! Where a server is, and the addresses of its channels there.

use std::fmt::Write as _;

use bongsu_core::{ChannelName, Cursor, Start};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::fault::ClientFault;

/// A server's address: `http://host:port`, perhaps with a path that a proxy puts before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
    prefix: String,
    is_udp: bool,
}

/// What a path segment cannot hold as it is (RFC 3986, `pchar`), and what some proxies take for more than it is.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'\\')
    .add(b';')
    .add(b'/');

/// The same for a query's value, where more is special.
const VALUE: &AsciiSet = &SEGMENT.add(b'&').add(b'+').add(b'=').add(b'\'');

impl Target {
    /// Reads an address; `http://` and `ws://` mean the same here.
    pub fn parse(url: &str) -> Result<Self, ClientFault> {
        let fault = |why| ClientFault::Url { url: url.to_owned(), why };
        let rest = match url.split_once("://") {
            Some(("http" | "ws" | "udp", rest)) => rest,
            Some(("https" | "wss", _)) => return Err(fault("TLS is not spoken yet; use http://")),
            _ => return Err(fault("write http://host:port")),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if path.contains(['?', '#']) || authority.contains(['@', '?', '#']) {
            return Err(fault("give only scheme, host, port and path"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| fault("the port is no number"))?;
        if host.is_empty() {
            return Err(fault("the host is missing"));
        }
        let is_udp = url.starts_with("udp:");
        let port = if is_udp && authority.rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']')) { UDP_PORT } else { port };
        Ok(Self { host: host.to_owned(), port, prefix: path.trim_end_matches('/').to_owned(), is_udp })
    }

    /// What to connect to.
    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        (self.host.trim_start_matches('[').trim_end_matches(']'), self.port)
    }

    /// Whether the address is one of UDP alone.
    pub fn is_udp(&self) -> bool {
        self.is_udp
    }

    /// Where datagrams are sent: the address itself, or, where that is one of HTTP, the usual port of the same host.
    pub(crate) fn udp_host_and_port(&self) -> (&str, u16) {
        let (host, port) = self.host_and_port();
        (host, if self.is_udp { port } else { UDP_PORT })
    }

    /// What the `Host` header says, and a person reads.
    pub fn authority(&self) -> String {
        if self.port == 80 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The one address of a channel.
    pub fn channel_path(&self, channel: &ChannelName) -> String {
        let mut path = format!("{}/channels", self.prefix);
        for segment in channel.as_str().split('/') {
            let _infallible = write!(path, "/{}", utf8_percent_encode(segment, SEGMENT));
        }
        path
    }

    /// The address of several channels at once.
    pub fn subscribe_path(&self, channels: &[ChannelName]) -> String {
        let mut path = format!("{}/subscribe", self.prefix);
        for (index, channel) in channels.iter().enumerate() {
            let mark = if index == 0 { '?' } else { '&' };
            let _infallible = write!(path, "{mark}channel={}", utf8_percent_encode(channel.as_str(), VALUE));
        }
        path
    }

    /// The address that takes a batch of publications.
    pub fn publish_path(&self) -> String {
        format!("{}/publish", self.prefix)
    }
}

/// Adds a query parameter; the value is percent-encoded.
pub(crate) fn add_query(path: &mut String, name: &str, value: Option<&str>) {
    path.push(if path.contains('?') { '&' } else { '?' });
    path.push_str(name);
    if let Some(value) = value {
        let _infallible = write!(path, "={}", utf8_percent_encode(value, VALUE));
    }
}

/// Adds where to start. It is always said, so that every transport starts alike.
pub(crate) fn add_start(path: &mut String, start: &Start) {
    match start {
        Start::Live => add_query(path, "live", None),
        Start::Earliest => add_query(path, "earliest", None),
        Start::Last(count) => add_query(path, "last", Some(&count.to_string())),
        Start::After(cursor) => add_query(path, "after", Some(Cursor::as_str(cursor))),
    }
}

fn split_port(authority: &str) -> Option<(&str, u16)> {
    // A colon inside the brackets belongs to an IPv6 address.
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Some((host, port.parse().ok()?)),
        _ => Some((authority, 80)),
    }
}

/// Where a server listens for datagrams unless it is told otherwise.
const UDP_PORT: u16 = 7070;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses() {
        let target = Target::parse("http://127.0.0.1:8080/").expect("an address");
        assert_eq!((target.host_and_port(), target.authority().as_str()), (("127.0.0.1", 8080), "127.0.0.1:8080"));
        let target = Target::parse("ws://[::1]/live/").expect("an address");
        assert_eq!((target.host_and_port(), target.authority().as_str()), (("::1", 80), "[::1]"));
        assert_eq!(target.publish_path(), "/live/publish");
        for url in ["127.0.0.1:8080", "https://a", "http://", "http://a:x", "http://a/?b", "ftp://a", "http://u@a"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn names_are_encoded_once() {
        let target = Target::parse("http://a").expect("an address");
        let name = |text| ChannelName::parse(text).expect("a name");
        assert_eq!(target.channel_path(&name("chat/a b%?&")), "/channels/chat/a%20b%25%3F&");
        assert_eq!(target.channel_path(&name("봉수")), "/channels/%EB%B4%89%EC%88%98");
        let mut path = target.subscribe_path(&[name("a/b"), name("c&d=+")]);
        add_start(&mut path, &Start::Last(5));
        assert_eq!(path, "/subscribe?channel=a%2Fb&channel=c%26d%3D%2B&last=5");
    }
}
