//! Who got what: every publication until all have it, the order of each subscription, and the latencies.

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Latency, RunFault};

/// The count of one run.
#[derive(Debug)]
pub(super) struct Tally {
    /// What is still under way: the oldest first.
    outstanding: VecDeque<Outstanding>,
    /// The number of the oldest.
    oldest: u64,
    /// How many get each publication of a lane. A publication's lane is its number modulo the lanes.
    receivers: Vec<u32>,
    /// The lanes whose latencies are left out.
    unmeasured: Vec<bool>,
    latencies: Histogram<u64>,
    pub(super) deliveries: u64,
    pub(super) lost: u64,
    pub(super) repeated: u64,
}

#[derive(Debug)]
struct Outstanding {
    /// When it was due or sent, since the start of the run.
    since: Duration,
    missing: u32,
}

impl Tally {
    /// For lanes with so many subscriptions each.
    pub(super) fn new(receivers: Vec<u32>) -> Result<Self, RunFault> {
        let latencies = Histogram::new_with_bounds(1, 600_000_000, 3).map_err(|_| RunFault::Plan("no such histogram"))?;
        let unmeasured = vec![false; receivers.len()];
        Ok(Self { outstanding: VecDeque::new(), oldest: 0, receivers, unmeasured, latencies, deliveries: 0, lost: 0, repeated: 0 })
    }

    /// Leaves the latencies of a lane out.
    pub(super) fn leave_out(&mut self, lane: usize) {
        self.unmeasured[lane] = true;
    }

    /// The number of the next publication.
    pub(super) fn next(&self) -> u64 {
        self.oldest + self.outstanding.len() as u64
    }

    /// How many publications are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.outstanding.len()
    }

    /// Notes a publication.
    pub(super) fn published(&mut self, since: Duration) {
        let lane = (self.next() % self.receivers.len() as u64) as usize;
        self.outstanding.push_back(Outstanding { since, missing: self.receivers[lane] });
        self.retire();
    }

    /// Notes that a subscription which expects `expected` got `number`, and returns what it expects next.
    pub(super) fn delivered(&mut self, expected: u64, number: u64, now: Duration) -> u64 {
        let lanes = self.receivers.len() as u64;
        if number < expected || number >= self.next() {
            self.repeated += 1;
            return expected;
        }
        self.lost += (number - expected) / lanes;
        for passed in (expected..number).step_by(lanes as usize) {
            self.settle(passed);
        }
        self.deliveries += 1;
        let is_measured = !self.unmeasured[(number % lanes) as usize];
        if let Some(since) = self.settle(number).filter(|_| is_measured) {
            self.latencies.saturating_record(now.saturating_sub(since).as_micros() as u64);
        }
        self.retire();
        number + lanes
    }

    /// Notes that a subscription is over; what it still expected counts as lost.
    pub(super) fn ended(&mut self, expected: u64) {
        let lanes = self.receivers.len();
        for missed in (expected..self.next()).step_by(lanes) {
            self.lost += 1;
            self.settle(missed);
        }
        let lane = (expected % lanes as u64) as usize;
        self.receivers[lane] = self.receivers[lane].saturating_sub(1);
        self.retire();
    }

    /// Forgets the latencies so far: the warm-up is over.
    pub(super) fn restart(&mut self) {
        self.latencies.reset();
    }

    /// What is still missing when the run ends is lost.
    pub(super) fn finish(&mut self) {
        self.lost += self.outstanding.drain(..).map(|publication| u64::from(publication.missing)).sum::<u64>();
    }

    /// The latencies since the last restart.
    pub(super) fn latency(&self) -> Latency {
        let at = |quantile| self.latencies.value_at_quantile(quantile);
        let mean = self.latencies.mean();
        Latency { mean, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: self.latencies.max() }
    }

    /// The whole distribution, finer towards its end: shares, and within how many microseconds.
    pub(super) fn latency_curve(&self) -> Vec<(f64, u64)> {
        let values = self.latencies.iter_quantiles(5);
        let mut curve: Vec<(f64, u64)> = values.map(|value| (value.quantile_iterated_to(), value.value_iterated_to())).collect();
        curve.dedup_by_key(|(_, value)| *value);
        curve
    }

    fn settle(&mut self, number: u64) -> Option<Duration> {
        let publication = self.outstanding.get_mut(usize::try_from(number.checked_sub(self.oldest)?).ok()?)?;
        publication.missing = publication.missing.saturating_sub(1);
        Some(publication.since)
    }

    fn retire(&mut self) {
        while self.outstanding.front().is_some_and(|publication| publication.missing == 0) {
            self.outstanding.pop_front();
            self.oldest += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_loss_repetition_and_completion() {
        let now = Duration::from_millis(1);
        let mut tally = Tally::new(vec![2, 1]).expect("a histogram");
        (0..4).for_each(|_| tally.published(Duration::ZERO));
        assert_eq!((tally.delivered(0, 0, now), tally.in_flight()), (2, 4));
        assert_eq!((tally.delivered(0, 0, now), tally.in_flight()), (2, 3), "publication 0 is with both");
        assert_eq!((tally.delivered(2, 0, now), tally.repeated), (2, 1));
        assert_eq!((tally.delivered(1, 3, now), tally.lost), (5, 1), "publication 1 was passed over");
        assert_eq!(tally.in_flight(), 2);
        tally.ended(2);
        tally.finish();
        assert_eq!((tally.lost, tally.deliveries), (3, 3));
        assert!(tally.latency().p50.abs_diff(1000) < 10);
    }

    #[test]
    fn the_latencies_of_a_lane_can_be_left_out() {
        let mut tally = Tally::new(vec![1, 1]).expect("a histogram");
        tally.leave_out(0);
        (0..2).for_each(|_| tally.published(Duration::ZERO));
        tally.delivered(0, 0, Duration::from_secs(9));
        tally.delivered(1, 1, Duration::from_millis(1));
        assert!(tally.deliveries == 2 && tally.latency().max < 2000, "{:?}", tally.latency());
    }
}
