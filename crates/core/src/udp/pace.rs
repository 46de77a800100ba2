//! How much may leave at once and how much in a second: a bucket that fills with time.

/// A bucket of tokens: bytes that may be sent, or requests that may be made.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    per_second: u64,
    burst: u64,
    /// In thousandths, so that slow paces fill too.
    filled: u64,
    at_ms: u64,
}

impl Pace {
    /// A full bucket of `burst` tokens that `per_second` tokens fill.
    pub fn new(per_second: u64, burst: u64, now_ms: u64) -> Self {
        Self { per_second, burst, filled: burst.saturating_mul(1000), at_ms: now_ms }
    }

    /// Takes so many tokens, if they are there.
    pub fn take(&mut self, count: u64, now_ms: u64) -> bool {
        let holds = self.available(now_ms) >= count;
        if holds {
            self.filled -= count * 1000;
        }
        holds
    }

    /// Takes so many tokens, or all that are there.
    pub fn spend(&mut self, count: u64, now_ms: u64) {
        let count = count.min(self.available(now_ms));
        self.filled -= count * 1000;
    }

    /// How many tokens there are.
    pub fn available(&mut self, now_ms: u64) -> u64 {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        self.filled = self.filled.saturating_add(passed_ms.saturating_mul(self.per_second)).min(self.burst.saturating_mul(1000));
        self.filled / 1000
    }

    /// In how many milliseconds there will be so many tokens, or the bucket be full.
    pub fn wait_ms(&mut self, count: u64, now_ms: u64) -> u64 {
        let lacking = count.min(self.burst).saturating_sub(self.available(now_ms));
        lacking.saturating_mul(1000).div_ceil(self.per_second.max(1))
    }
}
