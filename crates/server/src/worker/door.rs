//! The listeners, as the connections that came in by them know them.

use bytes::Bytes;

use crate::http::Problem;
use crate::metrics::TransportKind;

/// Which listener a connection came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// HTTP and WebSocket.
    Http,
    /// Lines of the native protocol.
    Tcp,
    /// HTTP in the clear beside TLS: all that it does is lead there.
    Redirect,
    /// The numbers, and whether the server is well.
    Admin,
    /// STOMP.
    Stomp,
    /// Datagrams of the native protocol. An address that follows something counts as a connection.
    Udp,
}

impl Door {
    /// The listener's name in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Admin => "admin",
            Self::Stomp => "stomp",
            Self::Redirect => "redirect",
            Self::Udp => "udp",
        }
    }

    /// What a connection that comes in here is, to begin with.
    pub(super) const fn kind(self) -> TransportKind {
        match self {
            Self::Http | Self::Redirect | Self::Admin => TransportKind::Http,
            Self::Tcp => TransportKind::Tcp,
            Self::Stomp => TransportKind::Stomp,
            Self::Udp => TransportKind::Udp,
        }
    }

    /// What a connection that is not taken up is told.
    pub(crate) fn refusal(self, problem: &Problem) -> Bytes {
        let retry = problem.headers.iter().find(|(name, _)| *name == "retry-after");
        let retry_ms = retry.and_then(|(_, seconds)| seconds.parse::<u64>().ok()).map(|seconds| seconds * 1000);
        match self {
            Self::Http | Self::Admin | Self::Redirect => problem.clone().into_response().into_bytes(false, false),
            Self::Tcp | Self::Udp => {
                let code = if retry_ms.is_some() { 1013 } else { 1008 };
                let bye = serde_json::json!({ "code": code, "reason": problem.detail, "reconnect_ms": retry_ms });
                Bytes::from(format!("{{\"bye\":{bye}}}\n"))
            }
            Self::Stomp => {
                let retry = retry_ms.map(|retry_ms| format!("reconnect-ms:{retry_ms}\n")).unwrap_or_default();
                // STOMP 1.2, "Value Encoding": a colon is escaped.
                Bytes::from(format!("ERROR\nmessage:{}\ncode:{}\n{retry}\n\0", problem.detail.replace(':', "\\c"), problem.code))
            }
        }
    }
}
