//! Taking leave: everyone is told goodbye, paced, and whoever is left at the end is cut off.

use bongsu_core::disconnect::Disconnect;
use bongsu_core::hub::SubscriberKey;
use rand::RngExt;

use super::Worker;
use crate::connection::Phase;
use crate::metrics::CloseReason;

/// A worker on its way out.
pub(crate) struct Leaving {
    /// Who is still to be told goodbye.
    pub(crate) to_tell: Vec<(SubscriberKey, u32)>,
    /// How many are told in a tick.
    pub(crate) per_tick: usize,
    /// Until when those wait to be told who have only just connected: their request may be on its way.
    pub(crate) newcomers_until_ms: u64,
    /// When it ends whoever is left.
    pub(crate) until_ms: u64,
}

impl Worker {
    /// Begins to take leave: everyone is told goodbye, at the configured pace, and whoever is left at the end is cut off.
    pub(crate) fn leave(&mut self) {
        let now_ms = self.now_ms();
        self.engine().queues().rest();
        let config = &self.shared.config.shutdown;
        let (timeout_ms, pace) = (config.timeout.as_millis(), config.pace_per_second);
        let to_tell = self.hub.keys().map(|(key, connection)| (key, connection.generation)).collect::<Vec<_>>();
        // Even at a slow pace all are told in the first half of the time, so that the last can still hear it.
        let ticks = (timeout_ms / 2 / crate::deadlines::TICK_MS).max(1) as usize;
        let share = pace.div_ceil(self.shared.workers).div_ceil(1000 / crate::deadlines::TICK_MS as usize);
        let per_tick = share.max(to_tell.len().div_ceil(ticks)).max(1);
        self.http2.leave();
        let newcomers_until_ms = now_ms + NEWCOMER_MS.min(timeout_ms / 2);
        self.leaving = Some(Leaving { to_tell, per_tick, newcomers_until_ms, until_ms: now_ms + timeout_ms });
        self.go_on_leaving(now_ms);
        self.settle();
    }

    pub(super) fn go_on_leaving(&mut self, now_ms: u64) {
        let Some(leaving) = &mut self.leaving else { return };
        let from = leaving.to_tell.len().saturating_sub(leaving.per_tick);
        let told: Vec<_> = leaving.to_tell.drain(from..).collect();
        let (over, newcomers_wait) = (now_ms >= leaving.until_ms, now_ms < leaving.newcomers_until_ms);
        let mut wait = Vec::new();
        for (key, generation) in told {
            // A request that is here already is still answered.
            if self.is_between_requests(key, generation) {
                self.read_now(key, generation);
            }
            let Some(connection) = self.hub.sink(key).filter(|connection| connection.generation == generation) else { continue };
            if newcomers_wait && connection.fresh {
                wait.push((key, generation));
            } else {
                self.disconnect(key, &Disconnect::Shutdown);
            }
        }
        if let Some(leaving) = &mut self.leaving {
            leaving.to_tell.splice(..0, wait);
        }
        if over {
            let left: Vec<_> = self.hub.keys().map(|(key, _)| key).collect();
            left.into_iter().for_each(|key| self.close(key, CloseReason::Shutdown));
            self.cut_http2();
        }
    }

    fn is_between_requests(&mut self, key: SubscriberKey, generation: u32) -> bool {
        let connection = self.hub.sink(key).filter(|connection| connection.generation == generation);
        connection.is_some_and(|connection| matches!(connection.phase, Phase::Head) && !connection.fresh && connection.held.is_none())
    }

    /// Whether it has nobody left.
    pub(crate) fn is_alone(&self) -> bool {
        self.hub.subscribers() == 0 && self.http2.is_empty() && self.arriving == 0
    }

    /// In how many milliseconds a client that is told goodbye may come back; drawn anew for each, so that they do not come at once.
    pub(crate) fn reconnect_ms(&mut self) -> u64 {
        let config = &self.shared.config.shutdown;
        let (min, max) = (config.reconnect_min.as_millis(), config.reconnect_max.as_millis());
        self.rng.random_range(min..=max.max(min))
    }
}

/// How long the first request of one who has just connected may take, when the server is about to end.
const NEWCOMER_MS: u64 = 300;
