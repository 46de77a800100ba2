//! What one channel may hold, and for how long.

/// The bounds on one channel. Every bound says what happens at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelLimits {
    /// How many publications history retains; the oldest goes when one more comes.
    pub publications_max: usize,
    /// How many bytes history retains, each publication counted with its overhead; the oldest go first.
    pub bytes_max: usize,
    /// How long history retains a publication.
    pub age_max_ms: u64,
    /// How many idempotency keys are remembered; the oldest is forgotten when one more comes.
    pub keys_max: usize,
    /// How long an idempotency key is remembered.
    pub keys_age_max_ms: u64,
    /// How many bytes a subscriber may lag behind before it is closed as slow.
    pub lag_bytes_max: u64,
    /// How old the oldest publication may be that a subscriber has not yet taken.
    pub lag_age_max_ms: u64,
}

impl Default for ChannelLimits {
    fn default() -> Self {
        Self {
            publications_max: 10_000,
            bytes_max: 16 << 20,
            age_max_ms: 600_000,
            keys_max: 1_000,
            keys_age_max_ms: 120_000,
            lag_bytes_max: 4 << 20,
            lag_age_max_ms: 30_000,
        }
    }
}

/// How much one read of history may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimits {
    /// The most publications.
    pub publications_max: usize,
    /// Where to stop by payload bytes; the first publication comes whatever its size.
    pub bytes_max: usize,
}
