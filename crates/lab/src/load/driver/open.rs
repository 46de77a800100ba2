//! Opening the connections of a run, with so many under way at once.

use std::time::{Duration, Instant};

use super::Driver;
use crate::load::subscriber::Peer;
use crate::load::{Progress, RunFault};

impl Driver<'_> {
    /// Opens them with so many under way at once, and times it.
    pub(super) fn open_subscribers(&mut self) -> Result<(), RunFault> {
        let began = Instant::now();
        while self.ready < self.plan.subscribers {
            let due = self.plan.ramp_per_second.map_or(usize::MAX, |ramp| (ramp * began.elapsed().as_secs_f64()) as usize + 1);
            let may_be_there = self.plan.subscribers.min(self.ready + OPENING_MAX).min(due);
            while self.peers.len() < may_be_there {
                let mut peer = Peer::subscriber(self.plan, self.peers.len(), self.poll.registry())?;
                // Those who poll are spread evenly over the interval, as strangers are.
                let share = self.peers.len() as f64 / self.plan.subscribers as f64;
                peer.poll_due = self.began.elapsed() + self.plan.poll_interval.mul_f64(share);
                self.peers.push(peer);
            }
            self.opening_turn(began, self.plan.subscribers)?;
        }
        self.report.opened_per_second = self.plan.subscribers as f64 / began.elapsed().as_secs_f64();
        Ok(())
    }

    /// Opens all who publish.
    pub(super) fn open_publishers(&mut self) -> Result<(), RunFault> {
        let publishers = self.plan.publishing_connections();
        let began = Instant::now();
        for lane in 0..publishers {
            let peer = Peer::publisher(self.plan, lane % self.plan.channels, self.peers.len(), self.poll.registry())?;
            self.peers.push(peer);
            while self.peers.len() >= self.ready + OPENING_MAX {
                self.opening_turn(began, self.plan.subscribers + publishers)?;
            }
        }
        while self.ready < self.peers.len() {
            self.opening_turn(began, self.plan.subscribers + publishers)?;
        }
        Ok(())
    }

    /// One turn meanwhile, within the patience of a plan.
    fn opening_turn(&mut self, began: Instant, wanted: usize) -> Result<(), RunFault> {
        let patience =
            OPENING_WAIT + self.plan.ramp_per_second.map_or(Duration::ZERO, |ramp| Duration::from_secs_f64(wanted as f64 / ramp));
        self.turn(if self.plan.ramp_per_second.is_some() { RAMP_TURN } else { Duration::from_millis(100) })?;
        if self.watched_at.elapsed() > WATCH_EVERY {
            self.watched_at = Instant::now();
            (self.watch)(Progress::Opening { ready: self.ready, wanted });
        }
        if began.elapsed() > patience {
            return Err(RunFault::Opening { ready: self.ready, wanted, seconds: patience.as_secs() });
        }
        Ok(())
    }
}

const OPENING_MAX: usize = 256;
const OPENING_WAIT: Duration = Duration::from_secs(30);
const RAMP_TURN: Duration = Duration::from_millis(1);
const WATCH_EVERY: Duration = Duration::from_millis(100);
