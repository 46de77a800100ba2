//! A subscription over UDP: it lasts until its lease ends, and when its channel is silent the client is told where the head is, so
//! that a loss that nothing follows is seen too.

use crate::position::Offset;

/// One channel of a client, as time goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    until_ms: u64,
    /// What had been sent when it was last looked at.
    seen: Offset,
    head_ms: u64,
    delay_ms: u64,
}

/// When a head is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadTimes {
    /// How long after the last publication for the first time.
    pub after_ms: u64,
    /// How long after that at the most, to which it doubles.
    pub interval_max_ms: u64,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing yet.
    Nothing,
    /// The head is to be told.
    Head,
    /// The lease has ended.
    Ended,
}

impl Lease {
    /// A lease that begins now, after `sent`.
    pub fn new(sent: Offset, lease_ms: u64, times: HeadTimes, now_ms: u64) -> Self {
        Self { until_ms: now_ms + lease_ms, seen: sent, head_ms: now_ms + times.after_ms, delay_ms: times.after_ms }
    }

    /// The client still wants it.
    pub fn renew(&mut self, lease_ms: u64, now_ms: u64) {
        self.until_ms = now_ms + lease_ms;
    }

    /// Something was sent: the head is to be told some time after that.
    pub fn stir(&mut self, sent: Offset, times: HeadTimes, now_ms: u64) {
        if sent != self.seen {
            *self = Self { seen: sent, head_ms: now_ms + times.after_ms, delay_ms: times.after_ms, ..*self };
        }
    }

    /// Looks at what has been sent by now, and says what is due.
    pub fn look(&mut self, sent: Offset, times: HeadTimes, now_ms: u64) -> Look {
        if now_ms >= self.until_ms {
            return Look::Ended;
        }
        if sent != self.seen {
            self.stir(sent, times, now_ms);
            return Look::Nothing;
        }
        if now_ms < self.head_ms {
            return Look::Nothing;
        }
        self.delay_ms = self.delay_ms.saturating_mul(2).clamp(1, times.interval_max_ms.max(1));
        self.head_ms = now_ms + self.delay_ms;
        Look::Head
    }

    /// When it is to be looked at again, if nothing is sent until then.
    pub fn due_ms(&self) -> u64 {
        self.until_ms.min(self.head_ms)
    }
}
