//! The subscribers that are slow on purpose.

use std::time::{Duration, Instant};

use super::Driver;
use super::receive::subscription;
use crate::load::RunFault;
use crate::load::subscriber::Words;

impl Driver<'_> {
    /// Has them read what is there, once their pause is over.
    pub(super) fn read_slow_subscribers(&mut self) {
        let now = self.started.elapsed();
        if self.plan.slow_pause.is_zero() || now < self.slow_read_at {
            return;
        }
        self.slow_read_at = now + self.plan.slow_pause;
        self.read_slow_ones();
    }

    /// When all is counted, lets them read until nothing more comes, so that the server tells what it passed over for them.
    pub(super) fn settle_slow_subscribers(&mut self) -> Result<(), RunFault> {
        if self.plan.slow_subscribers == 0 {
            return Ok(());
        }
        let end = Instant::now() + SETTLE_MAX;
        let (mut last, mut last_at) = (self.slow_bytes(), Instant::now());
        while Instant::now() < end && last_at.elapsed() < SETTLED {
            self.read_slow_ones();
            self.turn(Duration::from_millis(5))?;
            if self.slow_bytes() > last {
                (last, last_at) = (self.slow_bytes(), Instant::now());
            }
        }
        Ok(())
    }

    fn slow_bytes(&self) -> u64 {
        self.peers[..self.plan.slow_subscribers].iter().map(|peer| peer.bytes_read).sum()
    }

    fn read_slow_ones(&mut self) {
        for index in 0..self.plan.slow_subscribers {
            let peer = &mut self.peers[index];
            let stamp = &self.stamp;
            let report = &mut self.report;
            let lanes = self.plan.lanes() as u64;
            let words = Words::of_subscribers(&self.plan.target);
            let read = peer.read(words, &mut self.buffer, &mut self.inflated, |subscriptions, data| {
                stamp.each(data, |number| {
                    let Some(subscription) = subscription(subscriptions, number, lanes) else { return };
                    report.slow_deliveries += 1;
                    report.slow_lost += number.saturating_sub(subscription.1) / lanes;
                    report.repeated += u64::from(number < subscription.1);
                    subscription.1 = number + lanes;
                });
            });
            peer.closed |= read.is_err();
        }
    }
}

/// Nothing came for so long: they have all there is.
const SETTLED: Duration = Duration::from_millis(400);
const SETTLE_MAX: Duration = Duration::from_secs(3);
