//! What proxies in front are believed: which, and in what words.

use bongsu_core::proxy::forwarded::ForwardedHeader;
use serde::{Deserialize, Serialize};

use super::section::{self, section};

section! {
    /// Proxies in front, whose word on the client behind them is taken.
    Proxy {
        /// Their addresses and networks.
        trusted: Vec<String> = Vec::new();
        /// The header in which they tell the client of a request.
        header: ClientHeader = ClientHeader::XForwardedFor;
        /// Whether connections for HTTP begin with a header of the PROXY protocol.
        http: ProxyProtocol = ProxyProtocol::Off;
        /// Whether connections for the native protocol do.
        tcp: ProxyProtocol = ProxyProtocol::Off;
        /// Whether connections for STOMP do.
        stomp: ProxyProtocol = ProxyProtocol::Off;
    }
}

impl Proxy {
    /// What is expected at the beginning of a connection to a listener.
    pub fn protocol(&self, listener: &str) -> ProxyProtocol {
        match listener {
            "http" => self.http,
            "tcp" => self.tcp,
            "stomp" => self.stomp,
            _ => ProxyProtocol::Off,
        }
    }
}

/// The header in which a proxy tells the client of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientHeader {
    /// None: a proxy stands for itself.
    Off,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded` (RFC 7239)
    Forwarded,
}

impl ClientHeader {
    /// How it is read.
    pub fn kind(self) -> Option<ForwardedHeader> {
        match self {
            Self::Off => None,
            Self::XForwardedFor => Some(ForwardedHeader::XForwardedFor),
            Self::Forwarded => Some(ForwardedHeader::Forwarded),
        }
    }
}

/// Whether connections begin with a header of the PROXY protocol, of version 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// None does.
    Off,
    /// Those of trusted proxies may.
    Optional,
    /// All do, and come from trusted proxies.
    Required,
}
