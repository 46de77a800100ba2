//! How long to wait before coming back: full jitter, so that many clients cut at once do not return at once.

use std::time::Duration;

use rand::{Rng, RngExt};

/// The bounds of the waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffLimits {
    /// The longest first wait.
    pub first_max: Duration,
    /// The longest wait of all.
    pub max: Duration,
}

/// Waits drawn from a span that doubles with every failure.
#[derive(Debug, Clone)]
pub struct Backoff {
    limits: BackoffLimits,
    failures: u32,
}

impl Default for BackoffLimits {
    fn default() -> Self {
        Self { first_max: Duration::from_millis(250), max: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// Begins without failures.
    pub fn new(limits: BackoffLimits) -> Self {
        Self { limits, failures: 0 }
    }

    /// The next wait: anything from nothing to the span, which then doubles up to its bound.
    pub fn next(&mut self, rng: &mut (impl Rng + ?Sized)) -> Duration {
        let span = self.limits.first_max.saturating_mul(1 << self.failures.min(20)).min(self.limits.max);
        self.failures = self.failures.saturating_add(1);
        span.mul_f64(rng.random::<f64>())
    }

    /// The next wait where the server said how long to stay away: never less, and spread past it by the ordinary wait.
    pub fn next_after(&mut self, advice: Option<Duration>, rng: &mut (impl Rng + ?Sized)) -> Duration {
        let wait = self.next(rng);
        advice.map_or(wait, |advice| advice.saturating_add(wait))
    }

    /// Starts over, after something got through.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many waits there were since something last got through.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    const LIMITS: BackoffLimits = BackoffLimits { first_max: Duration::from_millis(100), max: Duration::from_secs(1) };

    #[test]
    fn the_span_doubles_up_to_its_bound() {
        let mut longest = [Duration::ZERO; 8];
        for seed in 0..2_000 {
            let (mut rng, mut backoff) = (SmallRng::seed_from_u64(seed), Backoff::new(LIMITS));
            for longest in &mut longest {
                *longest = backoff.next(&mut rng).max(*longest);
            }
        }
        for (failures, longest) in longest.into_iter().enumerate() {
            let span = Duration::from_millis(100 << failures).min(LIMITS.max);
            assert!(longest <= span && longest > span.mul_f64(0.95), "{failures}: {longest:?} of {span:?}");
        }
    }

    #[test]
    fn the_jitter_is_full() {
        let mut rng = SmallRng::seed_from_u64(1);
        let waits: Vec<_> = (0..1_000).map(|_| Backoff::new(LIMITS).next(&mut rng)).collect();
        let mean = waits.iter().sum::<Duration>() / 1_000;
        assert!(waits.iter().min() < Some(&Duration::from_millis(2)));
        assert!((45..55).contains(&mean.as_millis()), "{mean:?}");
    }

    #[test]
    fn the_servers_advice_is_a_least_and_success_starts_over() {
        let (mut rng, mut backoff) = (SmallRng::seed_from_u64(2), Backoff::new(LIMITS));
        let advice = Duration::from_secs(5);
        assert!(backoff.next_after(Some(advice), &mut rng) >= advice);
        (0..100).for_each(|_| assert!(backoff.next(&mut rng) <= LIMITS.max));
        assert_eq!(backoff.failures(), 101);
        backoff.reset();
        assert!(backoff.next(&mut rng) <= LIMITS.first_max);
    }
}
