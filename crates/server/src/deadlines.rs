//! One timing wheel for all connections of a worker, instead of a timer each.

/// Says when each connection is due. An entry may be stale: whoever takes it looks at the connection's own deadline.
#[derive(Debug)]
pub struct Deadlines {
    slots: Box<[Vec<Entry>]>,
    /// The next tick to be looked at.
    next_tick: u64,
}

/// A connection that may be due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The connection's key.
    pub key: u32,
    /// Which of the connections that had this key.
    pub generation: u32,
    due_tick: u64,
}

impl Deadlines {
    /// A wheel that begins to turn now.
    pub fn new(now_ms: u64) -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), next_tick: now_ms / TICK_MS }
    }

    /// Makes an entry that is due at `due_ms`, or at the next tick if that has passed.
    pub fn arm(&mut self, key: u32, generation: u32, due_ms: u64) {
        let due_tick = due_ms.div_ceil(TICK_MS).max(self.next_tick);
        self.slots[due_tick as usize % SLOTS].push(Entry { key, generation, due_tick });
    }

    /// Takes all entries that are due.
    pub fn take_due(&mut self, now_ms: u64, due: &mut Vec<Entry>) {
        let now_tick = now_ms / TICK_MS;
        // After a long sleep of the machine one round sees every slot.
        let first = self.next_tick.max(now_tick.saturating_sub(SLOTS as u64 - 1));
        for tick in first..=now_tick {
            self.slots[tick as usize % SLOTS].retain(|entry| {
                let is_due = entry.due_tick <= now_tick;
                if is_due {
                    due.push(*entry);
                }
                !is_due
            });
        }
        self.next_tick = self.next_tick.max(now_tick + 1);
    }
}

/// How finely time is told.
pub const TICK_MS: u64 = 50;
/// A round is 51.2 s, so that most deadlines are looked at once.
const SLOTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn due(deadlines: &mut Deadlines, now_ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        deadlines.take_due(now_ms, &mut due);
        let mut keys: Vec<_> = due.iter().map(|entry| entry.key).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn each_is_due_in_its_time_and_never_early() {
        let mut deadlines = Deadlines::new(1_000_000);
        for (key, due_ms) in [(1, 999_000), (2, 1_000_120), (3, 1_090_000)] {
            deadlines.arm(key, 0, due_ms);
        }
        assert_eq!(due(&mut deadlines, 1_000_000), [1]);
        assert!(due(&mut deadlines, 1_000_119).is_empty());
        assert_eq!(due(&mut deadlines, 1_000_150), [2]);
        assert!(due(&mut deadlines, 1_089_999).is_empty(), "a round later its slot came up, but it is not due");
        assert_eq!(due(&mut deadlines, 1_090_049), [3]);
    }

    #[test]
    fn a_long_sleep_loses_nothing() {
        let mut deadlines = Deadlines::new(0);
        (0..2000).for_each(|n| deadlines.arm(n, 0, u64::from(n) * 100));
        assert_eq!(due(&mut deadlines, 10_000_000).len(), 2000);
    }
}
