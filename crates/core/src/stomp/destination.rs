//! Where a frame goes: `/topic/NAME` and `/NAME` are the channel `NAME`, `/queue/NAME` is the queue `NAME`.

use super::fault::{StompFault, quote};
use crate::name::ChannelName;
use crate::queue::QueueName;

/// A channel or a queue, and how this client writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) target: Target,
    pub(super) prefix: Prefix,
}

/// What a destination names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Channel(ChannelName),
    Queue(QueueName),
}

/// What stands before the name; a client is answered in its own way of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Prefix {
    Topic,
    Queue,
    Bare,
}

impl Destination {
    pub(super) fn parse(text: &str) -> Result<Self, StompFault> {
        // Without a name after it, too: a channel `queue` is written /topic/queue.
        let text = if text == "/queue" { "/queue/" } else { text };
        let prefixed = |prefix: Prefix| text.strip_prefix(prefix.as_str()).map(|name| (name, prefix));
        let (name, prefix) = [Prefix::Topic, Prefix::Queue, Prefix::Bare]
            .into_iter()
            .find_map(prefixed)
            .ok_or_else(|| StompFault::DestinationWithoutSlash { destination: quote(text.as_bytes()) })?;
        let target = match prefix {
            Prefix::Queue => QueueName::parse(name).map(Target::Queue),
            Prefix::Topic | Prefix::Bare => ChannelName::parse(name).map(Target::Channel),
        };
        let target = target.map_err(|reason| StompFault::InvalidDestination { destination: quote(text.as_bytes()), reason })?;
        Ok(Self { target, prefix })
    }
}

impl Prefix {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "/topic/",
            Self::Queue => "/queue/",
            Self::Bare => "/",
        }
    }
}
