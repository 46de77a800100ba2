//! How much of something may be done in a second, and how long one who has done too much must wait. Used for whatever a peer can
//! do often: connect, publish, send bytes.

/// A steady pace, with so much that may be done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    per_second: u64,
    burst_ns: u64,
}

/// What one peer has done, as a token bucket in eight bytes: the moment at which the bucket is full again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meter {
    full_at_ns: u64,
}

impl Pace {
    /// So much a second, and at once as much as in `burst_ms`. 0 a second is no bound at all.
    pub fn new(per_second: u64, burst_ms: u64) -> Self {
        Self { per_second, burst_ns: burst_ms.saturating_mul(NS_PER_MS).max(1) }
    }

    /// How long the bucket takes to fill again after so much was taken.
    fn cost_ns(self, amount: u64) -> u64 {
        // Rounded up, so that not one more passes than was said.
        if self.per_second == 0 { 0 } else { amount.saturating_mul(NS_PER_SECOND).div_ceil(self.per_second) }
    }
}

impl Meter {
    /// In how many milliseconds something may be done again; 0 is now.
    ///
    /// As long as one is left in the bucket, whatever comes next may pass, however large: it leaves a debt, which is waited for. So
    /// nothing is too large ever to pass, and the pace holds in the long run.
    pub fn wait_ms(self, pace: Pace, now_ms: u64) -> u64 {
        if pace.per_second == 0 {
            return 0;
        }
        let one_ns = pace.cost_ns(1);
        // A bucket that never held one would let nothing pass.
        let may_at_ns = self.full_at_ns.saturating_add(one_ns).saturating_sub(pace.burst_ns.max(one_ns));
        // What one costs is rounded up. A burst of many is not to lack one for that.
        let rounded_ns = (one_ns / 2).min(NS_PER_MS / 2);
        match may_at_ns.saturating_sub(now_ms.saturating_mul(NS_PER_MS)) {
            lacking_ns if lacking_ns <= rounded_ns => 0,
            lacking_ns => lacking_ns.div_ceil(NS_PER_MS),
        }
    }

    /// Takes so much, even what is not there.
    pub fn charge(&mut self, amount: u64, pace: Pace, now_ms: u64) {
        let now_ns = now_ms.saturating_mul(NS_PER_MS);
        self.full_at_ns = self.full_at_ns.max(now_ns).saturating_add(pace.cost_ns(amount));
    }

    /// Takes so much, or says in how many milliseconds it may.
    pub fn take(&mut self, amount: u64, pace: Pace, now_ms: u64) -> Result<(), u64> {
        match self.wait_ms(pace, now_ms) {
            0 => {
                self.charge(amount, pace, now_ms);
                Ok(())
            }
            wait_ms => Err(wait_ms),
        }
    }

    /// Whether nothing of what was done counts any more.
    pub fn is_full(self, now_ms: u64) -> bool {
        self.full_at_ns <= now_ms.saturating_mul(NS_PER_MS)
    }
}

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_pace_holds() {
        let (pace, mut meter) = (Pace::new(10, 1_000), Meter::default());
        assert_eq!((0..20).filter(|_| meter.take(1, pace, 5_000).is_ok()).count(), 10);
        assert_eq!(meter.wait_ms(pace, 5_000), 100);
        let passed = (5_001..7_001).filter(|&now_ms| meter.take(1, pace, now_ms).is_ok()).count();
        assert_eq!(passed, 20, "in two seconds");
    }

    #[test]
    fn a_burst_is_as_many_as_it_says_whatever_one_costs() {
        for per_second in [1, 3, 7, 999, 1_000, 4_999, 5_000] {
            let (pace, mut meter) = (Pace::new(per_second, 10_000), Meter::default());
            let passed = (0..).take_while(|_| meter.take(1, pace, 5_000).is_ok()).count();
            assert_eq!(passed as u64, per_second * 10, "{per_second}");
        }
    }

    #[test]
    fn what_is_larger_than_the_burst_passes_and_is_paid_for() {
        let (pace, mut meter) = (Pace::new(1_000, 1_000), Meter::default());
        assert_eq!(meter.take(5_000, pace, 1_000), Ok(()));
        assert_eq!(meter.take(1, pace, 1_000), Err(4_001));
        assert_eq!(meter.take(1, pace, 5_000), Err(1));
        assert_eq!(meter.take(1, pace, 5_001), Ok(()));
        assert!(!meter.is_full(5_001) && meter.is_full(6_002));
    }

    #[test]
    fn none_a_second_is_no_bound() {
        let mut meter = Meter::default();
        assert!((0..1_000).all(|_| meter.take(u64::MAX, Pace::new(0, 1_000), 7).is_ok()));
    }

    proptest! {
        /// Whatever is asked, and whenever: no more passes than the pace, the burst and one last request allow; and whoever waits as
        /// long as told may go on.
        #[test]
        fn the_pace_holds_in_the_long_run(per_second in 1u64..10_000, burst_ms in 1u64..10_000, asked in prop::collection::vec((0u64..500, 1u64..2_000), 1..200)) {
            let (pace, mut meter) = (Pace::new(per_second, burst_ms), Meter::default());
            let (mut now_ms, mut passed, mut largest) = (1_000_000u64, 0u64, 0u64);
            for (later_ms, amount) in asked {
                now_ms += later_ms;
                match meter.take(amount, pace, now_ms) {
                    Ok(()) => passed += amount,
                    Err(wait_ms) => prop_assert_eq!(meter.wait_ms(pace, now_ms + wait_ms), 0),
                }
                largest = largest.max(amount);
                let allowed = (now_ms - 1_000_000 + burst_ms) * per_second / 1_000 + largest + 200;
                prop_assert!(passed <= allowed, "{} passed of {}", passed, allowed);
            }
        }
    }
}
