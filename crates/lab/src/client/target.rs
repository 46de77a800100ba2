//! Where a server is, and the addresses of its channels there.

use std::fmt::Write as _;

use bongsu_core::{ChannelName, Cursor, Start};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::connection::Transport;
use super::fault::ClientFault;
use super::tls::Trust;

/// A server's address: `http://host:port`, perhaps with a path that a proxy puts before it, or `tcp://host:port`, `udp://host:port`, `stomp://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    host: String,
    port: u16,
    prefix: String,
    /// The same server at other addresses, for the transports that this one is not for.
    others: Vec<Target>,
    /// Whom to trust, where TLS is spoken.
    trust: Option<Trust>,
}

/// What is spoken at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP, and WebSocket above it.
    Http,
    /// Lines of the native protocol.
    Tcp,
    /// Datagrams of the native protocol.
    Udp,
    /// STOMP.
    Stomp,
}

impl Scheme {
    /// What an address without a port means.
    const fn port(self, sealed: bool) -> u16 {
        match self {
            Self::Http if sealed => 443,
            Self::Http => 80,
            Self::Tcp | Self::Udp => 7070,
            Self::Stomp => 61613,
        }
    }

    /// The address of a server on this machine with nothing configured.
    pub const fn usual(self) -> &'static str {
        match self {
            Self::Http => "http://127.0.0.1:8080",
            Self::Tcp => "tcp://127.0.0.1:7070",
            Self::Udp => "udp://127.0.0.1:7070",
            Self::Stomp => "stomp://127.0.0.1:61613",
        }
    }
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
    /// Reads an address; `http://` and `ws://` mean the same here, and so do `https://` and `wss://`.
    pub fn parse(url: &str) -> Result<Self, ClientFault> {
        let fault = |why| ClientFault::Url { url: url.to_owned(), why };
        let (scheme, sealed, rest) = match url.split_once("://") {
            Some(("http" | "ws", rest)) => (Scheme::Http, false, rest),
            Some(("https" | "wss", rest)) => (Scheme::Http, true, rest),
            Some(("tcp", rest)) => (Scheme::Tcp, false, rest),
            Some(("tcps" | "tcp+tls", rest)) => (Scheme::Tcp, true, rest),
            Some(("udp", rest)) => (Scheme::Udp, false, rest),
            Some(("stomp", rest)) => (Scheme::Stomp, false, rest),
            Some(("stomps" | "stomp+tls", rest)) => (Scheme::Stomp, true, rest),
            _ => {
                return Err(fault(
                    "write http://host:port, tcp://host:port, udp://host:port or stomp://host:port, over TLS https://, tcps:// or stomps://",
                ));
            }
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if path.contains(['?', '#']) || authority.contains(['@', '?', '#']) {
            return Err(fault("give only scheme, host, port and path"));
        }
        let prefix = path.trim_end_matches('/').to_owned();
        if scheme != Scheme::Http && !prefix.is_empty() {
            return Err(fault("there is no path here: channels are named by themselves"));
        }
        let (host, port) = split_port(authority, scheme.port(sealed)).ok_or_else(|| fault("the port is no number"))?;
        if host.is_empty() {
            return Err(fault("the host is missing"));
        }
        Ok(Self { scheme, host: host.to_owned(), port, prefix, others: Vec::new(), trust: sealed.then(Trust::web) })
    }

    /// The same server at another address as well, for transports that need one of another kind.
    pub fn also_at(mut self, url: &str) -> Result<Self, ClientFault> {
        self.others.push(Self::parse(url)?);
        Ok(self)
    }

    /// Trusting others than the authorities of the web, where TLS is spoken.
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.others = self.others.into_iter().map(|other| other.trusting(trust.clone())).collect();
        self.trust = self.trust.map(|_| trust);
        self
    }

    /// Whom to trust; nothing where TLS is not spoken.
    pub(crate) fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// The address for a transport.
    pub fn of(&self, transport: Transport) -> Result<&Self, ClientFault> {
        let scheme = transport.scheme();
        let mut known = std::iter::once(self).chain(&self.others);
        known.find(|target| target.scheme == scheme).ok_or_else(|| ClientFault::WrongAddress {
            transport,
            address: self.authority(),
            example: scheme.usual(),
        })
    }

    /// The transport that an address leaves no choice about.
    pub fn implied(&self) -> Option<Transport> {
        match self.scheme {
            Scheme::Tcp => Some(Transport::Tcp),
            Scheme::Udp => Some(Transport::Udp),
            Scheme::Stomp => Some(Transport::Stomp),
            Scheme::Http => self.prefix.ends_with(STOMP).then_some(Transport::StompWebSocket),
        }
    }

    /// What to connect to.
    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        (self.host.trim_start_matches('[').trim_end_matches(']'), self.port)
    }

    /// What the `Host` header says, and a person reads.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.port(self.trust.is_some()) { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
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

    /// The address of STOMP over WebSocket, which may be given with the server's or not.
    pub fn stomp_path(&self) -> String {
        format!("{}{STOMP}", self.prefix.strip_suffix(STOMP).unwrap_or(&self.prefix))
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

/// Where STOMP over WebSocket is.
const STOMP: &str = "/stomp";

fn split_port(authority: &str, usual: u16) -> Option<(&str, u16)> {
    // A colon inside the brackets belongs to an IPv6 address.
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Some((host, port.parse().ok()?)),
        _ => Some((authority, usual)),
    }
}

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
        let target = Target::parse("wss://chat.example").expect("an address");
        assert_eq!((target.host_and_port(), target.authority().as_str()), (("chat.example", 443), "chat.example"));
        assert!(target.trust().is_some() && Target::parse("tcps://a").expect("an address").trust().is_some());
        for url in ["127.0.0.1:8080", "http://", "http://a:x", "http://a/?b", "ftp://a", "http://u@a", "tcp://a/b"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn each_transport_has_its_own_address() {
        let target = Target::parse("http://a:1/x").and_then(|target| target.also_at("tcp://a")).expect("addresses");
        assert_eq!(target.of(Transport::Sse).expect("HTTP").host_and_port(), ("a", 1));
        assert_eq!(target.of(Transport::Tcp).expect("TCP").host_and_port(), ("a", 7070));
        let fault = target.of(Transport::Stomp).expect_err("not told").to_string();
        assert!(fault.contains("stomp://127.0.0.1:61613"), "{fault}");
        for (url, implied) in [
            ("http://a", None),
            ("tcp://a", Some(Transport::Tcp)),
            ("stomp://a", Some(Transport::Stomp)),
            ("ws://a/x/stomp", Some(Transport::StompWebSocket)),
        ] {
            assert_eq!(Target::parse(url).expect(url).implied(), implied, "{url}");
        }
        assert_eq!(Target::parse("ws://a/x/stomp/").expect("an address").stomp_path(), "/x/stomp");
        assert_eq!(target.stomp_path(), "/x/stomp");
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
