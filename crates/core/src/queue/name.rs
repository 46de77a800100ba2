//! The name of a queue: the same grammar as a channel's, and another type, so that neither is taken for the other.

use std::fmt;

use crate::name::{ChannelName, NameFault};

/// A queue's name: 1 to 255 bytes of UTF-8, non-empty segments joined by `/`. Cloning shares the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(ChannelName);

impl QueueName {
    /// Checks a text and makes it a name.
    pub fn parse(text: &str) -> Result<Self, NameFault> {
        ChannelName::parse(text).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name as a pattern sees it.
    pub fn as_name(&self) -> &ChannelName {
        &self.0
    }

    /// Whether the first segment begins with `$`: to such queues only the server sends.
    pub fn is_reserved(&self) -> bool {
        self.0.is_reserved()
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
