//! How far each worker's subscribers of a channel have come, where publishers wait for the slowest. The directory asks before it
//! appends.

use crate::directory::Watchers;

/// What the subscribers of one channel have taken, worker by worker, and the workers whose publishers wait.
#[derive(Debug, Default)]
pub(crate) struct Backpressure {
    /// Payload bytes of the channel up to where a worker's slowest subscriber has come.
    taken: Vec<u64>,
    waiting: Watchers,
}

impl Backpressure {
    /// A worker's slowest subscriber has come so far, or the worker begins to watch there.
    pub(crate) fn take(&mut self, worker: usize, payload_bytes: u64) {
        if self.taken.len() <= worker {
            self.taken.resize(worker + 1, u64::MAX);
        }
        self.taken[worker] = payload_bytes;
    }

    /// How many payload bytes the slowest of those who watch is behind.
    pub(crate) fn lag_bytes(&self, watchers: Watchers, payload_bytes: u64) -> u64 {
        // Who watches and has said nothing yet began to before the channel paused, and speaks with its next turn.
        let watches = |worker: &usize| *worker < 64 && watchers & (1 << worker) != 0;
        let slowest = self.taken.iter().enumerate().filter(|(worker, _)| watches(worker)).map(|(_, taken)| *taken).min();
        payload_bytes.saturating_sub(slowest.unwrap_or(payload_bytes))
    }

    /// A worker's publishers wait.
    pub(crate) fn wait(&mut self, worker: usize) {
        self.waiting |= 1 << worker;
    }

    /// The workers whose publishers waited; they wait no longer.
    pub(crate) fn release(&mut self) -> Watchers {
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_those_who_watch_counts() {
        let mut backpressure = Backpressure::default();
        assert_eq!(backpressure.lag_bytes(0b11, 100), 0, "nobody has said anything");
        backpressure.take(1, 40);
        backpressure.take(0, 90);
        assert_eq!([0b11, 0b01, 0b10, 0].map(|watchers| backpressure.lag_bytes(watchers, 100)), [60, 10, 60, 0]);
        backpressure.wait(3);
        backpressure.wait(0);
        assert_eq!([backpressure.release(), backpressure.release()], [0b1001, 0]);
    }
}
