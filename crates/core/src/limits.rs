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
    /// How many bytes a subscriber may lag behind before it is slow.
    pub lag_bytes_max: u64,
    /// How old the oldest publication may be that a subscriber has not yet taken, before it is slow.
    pub lag_age_max_ms: u64,
    /// What becomes of a subscriber that is slow.
    pub slow: SlowPolicy,
    /// Under `pause`: how long a publisher waits. Half as long a subscriber may hold it back without taking anything.
    pub pause_max_ms: u64,
}

/// What becomes of a subscriber that passed its channel's bounds on lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowPolicy {
    /// It is told goodbye, with the cursor to come back from.
    #[default]
    Disconnect,
    /// It is told a gap, and goes on near the head.
    Drop,
    /// It gets the newest publication of each key, and is told a gap wherever one was passed over.
    Conflate,
    /// Publishers wait for it.
    Pause,
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
            slow: SlowPolicy::Disconnect,
            pause_max_ms: 5_000,
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
