//! The labels of the counters: small enums, so that a counter is found by an index and not by a search.

use bongsu_core::GapReason;

/// A label's values, in the order of their indexes.
pub(super) trait Label: Copy + 'static {
    /// How many there are.
    const COUNT: usize = Self::ALL.len();
    /// All of them.
    const ALL: &'static [Self];
    /// The place among `ALL`.
    fn index(self) -> usize;
    /// The word in the exposition.
    fn word(self) -> &'static str;
}

/// Declares a label with its values and their words.
macro_rules! label {
    ($(#[$about:meta])* $name:ident { $( $(#[$doc:meta])* $value:ident = $word:literal, )* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$doc])* $value, )*
        }

        impl $name {
            /// How many there are.
            pub(super) const COUNT: usize = <Self as Label>::ALL.len();

            /// The word in the exposition.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$value => $word, )*
                }
            }
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$( Self::$value, )*];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }

            fn word(self) -> &'static str {
                self.as_str()
            }
        }
    };
}

label! {
    /// How a connection carries publications.
    TransportKind {
        /// An HTTP connection that subscribes to nothing at the moment; and publishing by request.
        Http = "http",
        /// A poll, answered at once.
        Poll = "poll",
        /// A long poll.
        LongPoll = "long-poll",
        /// A stream of NDJSON lines.
        Stream = "stream",
        /// A stream of multipart parts.
        Multipart = "multipart",
        /// Server-sent events.
        Sse = "sse",
        /// A WebSocket with plain payloads.
        WebSocket = "websocket",
        /// A WebSocket that speaks the native protocol.
        Native = "native",
        /// The native protocol over TCP.
        Tcp = "tcp",
        /// STOMP over TCP.
        Stomp = "stomp",
        /// STOMP over a WebSocket.
        StompWebSocket = "stomp+ws",
        /// The WebSocket at `/echo`.
        Echo = "echo",
    }
}

label! {
    /// Why a connection ended.
    CloseReason {
        /// The client was done and said so.
        Client = "client",
        /// The client is gone without a word.
        Vanished = "vanished",
        /// The server was done: the last answer was given.
        Done = "done",
        /// The client took its publications too slowly.
        Slow = "slow",
        /// The client was silent for too long, or did not answer a ping.
        Silent = "silent",
        /// The client broke the rules of its protocol.
        Fault = "fault",
        /// A gap that its transport has no room to tell.
        Gap = "gap",
        /// A bound of the configuration was reached.
        Limit = "limit",
        /// The server is going away.
        Shutdown = "shutdown",
    }
}

label! {
    /// What a request was for.
    Route {
        /// Publishing one publication.
        Publish = "publish",
        /// Publishing a batch.
        Batch = "batch",
        /// Reading one channel, by any transport.
        Channel = "channel",
        /// Reading several channels.
        Subscribe = "subscribe",
        /// STOMP over a WebSocket, at its own address.
        Stomp = "stomp",
        /// The echo.
        Echo = "echo",
        /// These numbers.
        Metrics = "metrics",
        /// Whether the server is well.
        Health = "health",
        /// Anything else, such as a path that leads nowhere.
        Other = "other",
    }
}

label! {
    /// The first digit of a status.
    StatusClass {
        /// 100 to 199; an upgrade is 101.
        Informational = "1xx",
        /// 200 to 299.
        Success = "2xx",
        /// 300 to 399.
        Redirection = "3xx",
        /// 400 to 499: the client is wrong.
        ClientError = "4xx",
        /// 500 and more: the server cannot.
        ServerError = "5xx",
    }
}

impl StatusClass {
    /// The class of a status.
    pub(super) fn of(status: u16) -> Self {
        match status / 100 {
            0 | 1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

impl Label for GapReason {
    const ALL: &'static [Self] = &[Self::Epoch, Self::Trimmed, Self::Future, Self::Dropped];

    fn index(self) -> usize {
        // A match, so that a reason that core adds is missed by the compiler here and not by a reader of the numbers.
        match self {
            Self::Epoch => 0,
            Self::Trimmed => 1,
            Self::Future => 2,
            Self::Dropped => 3,
        }
    }

    fn word(self) -> &'static str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_indexes<L: Label>() {
        for (index, label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), index, "{}", label.word());
        }
    }

    #[test]
    fn every_value_stands_at_its_index() {
        check_indexes::<TransportKind>();
        check_indexes::<CloseReason>();
        check_indexes::<Route>();
        check_indexes::<StatusClass>();
        check_indexes::<GapReason>();
    }
}
