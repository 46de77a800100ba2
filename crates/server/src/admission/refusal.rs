//! Why a connection is not taken up, and how that is told.

use crate::http::Problem;

/// Why a connection is not taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// As many connections as the server may have.
    #[error("the server is at its limits; come back later")]
    Full,
    /// As many connections as one address may have.
    #[error("your address has {max} connections, as many as one may have; close some, or come back later")]
    FullForAddress {
        /// The bound.
        max: usize,
    },
    /// More new connections than the server takes in a second.
    #[error("too many clients connect at once; come back in a moment")]
    TooFast {
        /// When there is room again.
        wait_ms: u64,
    },
    /// More new connections than one address may make in a second.
    #[error("your address connects too often; keep connections, or come back in a moment")]
    TooFastForAddress {
        /// When it may again.
        wait_ms: u64,
    },
}

impl Refusal {
    /// Its name.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Full => "too-many-connections",
            Self::FullForAddress { .. } => "too-many-connections-of-address",
            Self::TooFast { .. } => "too-many-new-connections",
            Self::TooFastForAddress { .. } => "too-many-new-connections-of-address",
        }
    }

    /// How it is told over HTTP.
    pub(crate) fn problem(&self) -> Problem {
        let (status, retry_ms) = match self {
            Self::Full => (503, 5_000),
            Self::FullForAddress { .. } => (429, 5_000),
            Self::TooFast { wait_ms } => (503, *wait_ms),
            Self::TooFastForAddress { wait_ms } => (429, *wait_ms),
        };
        Problem::new(status, self.code(), self).with("retry-after", retry_ms.div_ceil(1000).max(1))
    }
}
