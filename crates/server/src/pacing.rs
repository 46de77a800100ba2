//! Publications at the pace that a client may have: who is over it is told, where its protocol has an answer, and not read from
//! until it may publish again.

use std::collections::BTreeSet;

use bongsu_core::hub::SubscriberKey;

use crate::http::Problem;
use crate::worker::Worker;

/// The connections that are not read from at the moment, each with its generation.
#[derive(Debug, Default)]
pub(crate) struct Paused(BTreeSet<(SubscriberKey, u32)>);

/// A client published faster than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more publications or bytes a second than limits.publications_per_second and its like allow; try again in {wait_ms} ms")]
pub(crate) struct TooFast {
    /// When it may again.
    pub(crate) wait_ms: u64,
}

impl TooFast {
    /// Its name.
    pub(crate) const CODE: &'static str = "rate-limited";

    /// How it is told over HTTP.
    pub(crate) fn problem(self) -> Problem {
        Problem::new(429, Self::CODE, self).with("retry-after", self.wait_ms.div_ceil(1000).max(1))
    }
}

impl Worker {
    /// Takes a publication of so many bytes into account, or says that it comes too soon, which is to be told and counted.
    pub(crate) fn charge(&mut self, key: SubscriberKey, bytes: usize) -> Result<(), TooFast> {
        let now_ms = self.now_ms();
        let Some(guest) = self.hub.sink(key).and_then(|connection| connection.visitor.guest.clone()) else { return Ok(()) };
        let limits = &self.shared.admission_limits;
        match guest.wait_ms(limits, now_ms) {
            0 => {
                guest.charge(bytes, limits, now_ms);
                Ok(())
            }
            wait_ms => Err(TooFast { wait_ms }),
        }
    }

    /// Takes a publication into account that is made in any case, because there is no way to refuse it. Where it comes too soon,
    /// what follows has to wait: the connection is not read from until then.
    pub(crate) fn charge_and_wait(&mut self, key: SubscriberKey, bytes: usize) {
        let now_ms = self.now_ms();
        let Some(guest) = self.hub.sink(key).and_then(|connection| connection.visitor.guest.clone()) else { return };
        guest.charge(bytes, &self.shared.admission_limits, now_ms);
        let wait_ms = guest.wait_ms(&self.shared.admission_limits, now_ms);
        if wait_ms > 0 {
            self.metrics.fault(TooFast::CODE);
            self.pause(key, wait_ms);
        }
    }

    /// Reads nothing from a connection for so long.
    pub(crate) fn pause(&mut self, key: SubscriberKey, wait_ms: u64) {
        let until_ms = self.now_ms() + wait_ms;
        let Some(connection) = self.hub.sink(key) else { return };
        let Some(guest) = &connection.visitor.guest else { return };
        guest.pause(until_ms);
        let generation = connection.generation;
        self.paused.0.insert((key, generation));
    }

    /// Whether a connection is not to be read from now: it is too fast, or what it publishes waits for subscribers. One that is not
    /// goes on by itself when it may.
    pub(crate) fn is_paused(&mut self, key: SubscriberKey) -> bool {
        self.is_held(key) || self.is_too_fast(key)
    }

    fn is_too_fast(&mut self, key: SubscriberKey) -> bool {
        // Most of the time nobody is.
        if self.paused.0.is_empty() {
            return false;
        }
        let now_ms = self.now_ms();
        let Some(connection) = self.hub.sink(key) else { return false };
        let paused = connection.visitor.is_paused(now_ms);
        if paused {
            // Streams of one HTTP/2 connection are paused together, by what one of them did.
            self.paused.0.insert((key, connection.generation));
        }
        paused
    }

    /// Goes on with those who have waited long enough. Called every tick.
    pub(crate) fn resume_paused(&mut self, now_ms: u64) {
        for (key, generation) in std::mem::take(&mut self.paused.0) {
            let Some(connection) = self.hub.sink(key).filter(|connection| connection.generation == generation) else { continue };
            if connection.visitor.is_paused(now_ms) {
                self.paused.0.insert((key, generation));
            } else {
                self.resume(key);
            }
        }
    }
}
