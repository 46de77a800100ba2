//! The ways in which a subscriber can receive: one table, of which the command line, target files and the driver all read. A new way is
//! a variant, a row, and, where its bytes are cut in a new manner, an arm of the decoder.

use serde::{Deserialize, Serialize};

/// How a subscriber receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    /// A request every so often, for whatever came since the one before.
    #[serde(rename = "poll")]
    Poll,
    /// A request for each answer, held back until there is something.
    #[serde(rename = "long-poll")]
    LongPoll,
    /// A stream of JSON lines.
    #[serde(rename = "ndjson")]
    Lines,
    /// A stream of parts, each with its own type.
    #[serde(rename = "multipart")]
    Multipart,
    /// Server-sent events.
    #[serde(rename = "sse")]
    Sse,
    /// WebSocket frames, in whatever protocol the target says; a message is found anywhere in a text or binary frame.
    #[serde(rename = "ws")]
    WebSocket,
    /// This project's own protocol over WebSocket: many channels on a connection.
    #[serde(rename = "native")]
    Native,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// What it is.
    pub transport: Transport,
    /// Its name on the command line and in files.
    pub name: &'static str,
    /// Which of a server's addresses it connects to, by the name in the ports file.
    pub listener: &'static str,
    /// How its bytes are cut into records.
    pub(super) framing: Framing,
    /// The `Accept` header of its request.
    pub(super) accept: &'static str,
}

/// How bytes become records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// A handshake, then WebSocket frames.
    Frames,
    /// A response's head, then lines, in chunked coding or until the end.
    Lines,
    /// The same, of which only those that begin with `data:` count.
    Events,
    /// A whole response for each request: what polls and publishes over HTTP get.
    Pages,
}

/// Every way there is.
pub const TRANSPORTS: &[Way] = &[
    way(Transport::Poll, "poll", "http", Framing::Pages, "application/json"),
    way(Transport::LongPoll, "long-poll", "http", Framing::Pages, "application/json"),
    way(Transport::Lines, "ndjson", "http", Framing::Lines, "application/x-ndjson"),
    way(Transport::Multipart, "multipart", "http", Framing::Lines, "multipart/mixed"),
    way(Transport::Sse, "sse", "http", Framing::Events, "text/event-stream"),
    way(Transport::WebSocket, "ws", "http", Framing::Frames, ""),
    way(Transport::Native, "native", "http", Framing::Frames, ""),
];

const fn way(transport: Transport, name: &'static str, listener: &'static str, framing: Framing, accept: &'static str) -> Way {
    Way { transport, name, listener, framing, accept }
}

impl Transport {
    /// Its row.
    pub fn way(self) -> &'static Way {
        TRANSPORTS.iter().find(|way| way.transport == self).expect("every transport has its row")
    }

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        self.way().name
    }

    /// The transport of this name.
    pub fn named(name: &str) -> Option<Self> {
        TRANSPORTS.iter().find(|way| way.name == name).map(|way| way.transport)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_files_and_on_the_command_line() {
        for way in TRANSPORTS {
            let text = serde_json::to_string(&way.transport).expect("a name");
            assert_eq!(text.trim_matches('"'), way.name);
            assert_eq!(Transport::named(way.name), Some(way.transport));
        }
    }
}
