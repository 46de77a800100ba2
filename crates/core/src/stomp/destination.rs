//! Where a frame goes: `/topic/NAME` and `/NAME` are the channel `NAME`.

use super::fault::{StompFault, quote};
use crate::name::ChannelName;

/// A channel, and how this client writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) channel: ChannelName,
    pub(super) prefix: Prefix,
}

/// What stands before the channel's name; a client is answered in its own way of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Prefix {
    Topic,
    Bare,
}

impl Destination {
    pub(super) fn parse(text: &str) -> Result<Self, StompFault> {
        if text == "/queue" || text.starts_with("/queue/") {
            return Err(StompFault::QueuesNotServed);
        }
        let (name, prefix) = match (text.strip_prefix(Prefix::Topic.as_str()), text.strip_prefix(Prefix::Bare.as_str())) {
            (Some(name), _) => (name, Prefix::Topic),
            (None, Some(name)) => (name, Prefix::Bare),
            (None, None) => return Err(StompFault::DestinationWithoutSlash { destination: quote(text.as_bytes()) }),
        };
        let channel =
            ChannelName::parse(name).map_err(|reason| StompFault::InvalidDestination { destination: quote(text.as_bytes()), reason })?;
        Ok(Self { channel, prefix })
    }
}

impl Prefix {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "/topic/",
            Self::Bare => "/",
        }
    }
}
