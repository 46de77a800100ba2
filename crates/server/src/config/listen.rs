//! Where a listener stands: an address, or off.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

/// An address to listen at, or `off`. Port 0 lets the system pick a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Nobody listens.
    Off,
    /// Listen at this address.
    At(SocketAddr),
    /// Listen at this address, unless somebody else does.
    IfFree(SocketAddr),
}

/// The text is neither an address nor `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {LISTENER_FORM}")]
pub struct ListenerFault;

impl Listener {
    /// The address, if somebody listens.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) | Self::IfFree(address) => Some(address),
        }
    }
}

impl FromStr for Listener {
    type Err = ListenerFault;

    fn from_str(text: &str) -> Result<Self, ListenerFault> {
        match text {
            "off" => Ok(Self::Off),
            _ => match text.strip_suffix(IF_FREE) {
                Some(address) => address.trim_end().parse().map(Self::IfFree).map_err(|_| ListenerFault),
                None => text.parse().map(Self::At).map_err(|_| ListenerFault),
            },
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
            Self::IfFree(address) => write!(f, "{address} {IF_FREE}"),
        }
    }
}

impl Serialize for Listener {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listener {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ListenerVisitor)
    }
}

struct ListenerVisitor;

impl Visitor<'_> for ListenerVisitor {
    type Value = Listener;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LISTENER_FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Listener, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

const IF_FREE: &str = "if free";
const LISTENER_FORM: &str = "an IP address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\" (port 0 picks a free one), or \"off\"";
