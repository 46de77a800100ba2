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

impl Entry {
    /// When it comes up, as `arm` told.
    pub fn comes_up_ms(&self) -> u64 {
        self.due_tick * TICK_MS
    }
}

impl Deadlines {
    /// A wheel that begins to turn now.
    pub fn new(now_ms: u64) -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), next_tick: now_ms / TICK_MS }
    }

    /// Makes an entry that is due at `due_ms`, or at the next tick if that has passed. Tells when it comes up.
    pub fn arm(&mut self, key: u32, generation: u32, due_ms: u64) -> u64 {
        let due_tick = due_ms.div_ceil(TICK_MS).max(self.next_tick);
        let entry = Entry { key, generation, due_tick };
        self.slots[due_tick as usize % SLOTS].push(entry);
        entry.comes_up_ms()
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

/// The deadline of one connection, and which entry of the wheel is its own. One that was overtaken by an earlier one is let go when it
/// comes up: if each were armed anew instead, a connection that lives long would have more and more of them.
#[derive(Debug, Clone, Copy)]
pub struct Alarm {
    /// When something is to happen if nothing else does.
    due_ms: u64,
    /// When its entry comes up.
    armed_ms: u64,
}

/// What an entry that comes up means for its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Up {
    /// Nothing: another entry is its own by now, or nothing is to happen.
    Nothing,
    /// The deadline was put off, to this time.
    Later(u64),
    /// It is due.
    Due,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { due_ms: u64::MAX, armed_ms: u64::MAX }
    }
}

impl Alarm {
    /// Sets the deadline. Tells whether it takes an entry of its own; one that comes up earlier sees that it is not yet due.
    pub fn set(&mut self, due_ms: u64) -> bool {
        self.due_ms = due_ms;
        due_ms.div_ceil(TICK_MS).saturating_mul(TICK_MS) < self.armed_ms
    }

    /// Its entry comes up then.
    pub fn armed(&mut self, comes_up_ms: u64) {
        self.armed_ms = comes_up_ms;
    }

    /// An entry comes up.
    pub fn comes_up(&mut self, entry: &Entry, now_ms: u64) -> Up {
        if entry.comes_up_ms() != self.armed_ms {
            return Up::Nothing;
        }
        self.armed_ms = u64::MAX;
        match self.due_ms {
            u64::MAX => Up::Nothing,
            due_ms if due_ms > now_ms => Up::Later(due_ms),
            _ => Up::Due,
        }
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
    fn a_connection_keeps_one_entry_however_its_deadline_moves() {
        let (mut deadlines, mut alarm, mut up, mut now_ms) = (Deadlines::new(0), Alarm::default(), Vec::new(), 0);
        let arm = |deadlines: &mut Deadlines, alarm: &mut Alarm, due_ms| {
            if alarm.set(due_ms) {
                let comes_up_ms = deadlines.arm(1, 0, due_ms);
                alarm.armed(comes_up_ms);
            }
        };
        // A long poll of 25 s, then a pause in which the connection may be idle for 75 s, for hours.
        for round in 0..500 {
            arm(&mut deadlines, &mut alarm, now_ms + 25_000);
            now_ms += 20_000;
            deadlines.take_due(now_ms, &mut up);
            arm(&mut deadlines, &mut alarm, now_ms + 75_000);
            now_ms += 10_000 + round;
            deadlines.take_due(now_ms, &mut up);
            for entry in up.drain(..) {
                match alarm.comes_up(&entry, now_ms) {
                    Up::Later(due_ms) => arm(&mut deadlines, &mut alarm, due_ms),
                    Up::Nothing => (),
                    Up::Due => panic!("it is never due"),
                }
            }
        }
        let entries: usize = deadlines.slots.iter().map(Vec::len).sum();
        assert!(entries <= 4, "{entries}");
        // And it is due when it should be.
        arm(&mut deadlines, &mut alarm, now_ms + 1_000);
        deadlines.take_due(now_ms + 1_050, &mut up);
        assert_eq!(up.iter().filter(|entry| alarm.comes_up(entry, now_ms + 1_050) == Up::Due).count(), 1);
    }

    #[test]
    fn a_long_sleep_loses_nothing() {
        let mut deadlines = Deadlines::new(0);
        for n in 0..2000 {
            deadlines.arm(n, 0, u64::from(n) * 100);
        }
        assert_eq!(due(&mut deadlines, 10_000_000).len(), 2000);
    }
}
