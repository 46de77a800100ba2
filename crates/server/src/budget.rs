//! Memory for everything that is under way together: input that waits for its rest, bodies being gathered, replies that wait to
//! leave, tapes, what HTTP/2 holds back. Each has a bound of its own; past the bound on all of it, those who hold most go first.

use bongsu_core::disconnect::Disconnect;
use bongsu_core::hub::SubscriberKey;
use tracing::warn;

use crate::connection::{Connection, Phase};
use crate::worker::Worker;

/// What one worker's connections hold.
#[derive(Debug, Default)]
pub(crate) struct Burden {
    /// Input that waits for its rest: known to the byte.
    input_bytes: usize,
    /// Everything else, as of the last look.
    other_bytes: usize,
    /// When those who hold most were last looked for.
    relieved_ms: u64,
}

impl Connection {
    /// Bytes of input that it holds.
    fn input_bytes(&self) -> usize {
        let of_phase = match &self.phase {
            Phase::Body(gathering) => gathering.body.capacity_held(),
            Phase::WebSocket(websocket) => websocket.capacity_held(),
            Phase::Stomp(stomp) => stomp.capacity_held(),
            _ => 0,
        };
        self.unread.capacity() + of_phase
    }
}

impl Worker {
    /// Takes note of what a connection holds now. Called when it was read from: for most it is nothing, before and after.
    pub(crate) fn weigh(&mut self, key: SubscriberKey) {
        let Some(connection) = self.hub.sink(key) else { return };
        let held = u32::try_from(connection.input_bytes()).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut connection.held_bytes, held);
        if held != before {
            self.burden.input_bytes = (self.burden.input_bytes + held as usize).saturating_sub(before as usize);
            self.tell_burden();
            if held > before {
                self.relieve();
            }
        }
    }

    /// A connection is gone, and what it held with it.
    pub(crate) fn unweigh(&mut self, connection: &Connection) {
        if connection.held_bytes > 0 {
            self.burden.input_bytes = self.burden.input_bytes.saturating_sub(connection.held_bytes as usize);
            self.tell_burden();
        }
    }

    /// Looks at what is held beside input. Called a few times a second.
    pub(crate) fn look_at_burden(&mut self) {
        self.count_burden();
        self.relieve();
    }

    /// A connection takes no more of what it is owed. Until the next look it counts anew each time, which `relieve` sets right.
    pub(crate) fn weigh_owed(&mut self, key: SubscriberKey) {
        self.burden.other_bytes += self.owed_bytes(key);
        self.tell_burden();
        self.relieve();
    }

    /// What is held for a connection to be sent.
    fn owed_bytes(&self, key: SubscriberKey) -> usize {
        self.hub.waiting_bytes(key) + self.answers.get(&key).map_or(0, |unsent| self.answer_bytes(unsent))
    }

    fn count_burden(&mut self) {
        self.burden.other_bytes = self.hub.outbox_bytes() + self.answers_bytes() + self.hub.tapes_bytes() + self.http2.buffered_bytes();
        self.tell_burden();
    }

    fn tell_burden(&self) {
        self.metrics.in_flight_bytes(self.burden.input_bytes + self.burden.other_bytes);
    }

    /// Past the bound, closes those who hold most, until this worker's share of what is too much is free.
    fn relieve(&mut self) {
        let max = self.shared.config.limits.in_flight_bytes_max.as_usize();
        let now_ms = self.now_ms();
        // Looking for them means looking at every connection, which is not to become a burden of its own.
        if self.shared.metrics.in_flight() as usize <= max || now_ms < self.burden.relieved_ms + RELIEF_INTERVAL_MS {
            return;
        }
        self.burden.relieved_ms = now_ms;
        self.count_burden();
        let all = self.shared.metrics.in_flight() as usize;
        if all <= max {
            return;
        }
        let own = self.burden.input_bytes + self.burden.other_bytes;
        let too_much = (all - max / 8 * 7) as u128 * own as u128 / all as u128;
        let closed = self.close_worst(too_much as usize);
        self.count_burden();
        warn!(in_flight_bytes = all, bound = max, closed, "limits.in_flight_bytes_max is passed: those who hold most are closed");
    }

    /// Closes those who hold most, so many bytes of them. Tells how many they were.
    fn close_worst(&mut self, mut too_much: usize) -> usize {
        let weigh = |(key, connection): (SubscriberKey, &Connection)| {
            let weight = connection.held_bytes as usize + self.owed_bytes(key);
            (weight >= OFFENCE_BYTES_MIN).then_some((weight, Offender::Connection(key)))
        };
        let peers = self.http2.buffering().map(|(weight, id)| (weight, Offender::Http2(id)));
        let mut worst: Vec<_> = self.hub.keys().filter_map(weigh).chain(peers).collect();
        worst.sort_unstable_by(|one, other| other.cmp(one));
        let mut closed = 0;
        for (weight, offender) in worst {
            if too_much == 0 {
                break;
            }
            too_much = too_much.saturating_sub(weight);
            closed += 1;
            self.metrics.fault(FAULT);
            match offender {
                Offender::Connection(key) => self.disconnect(key, &Disconnect::Overloaded),
                Offender::Http2(id) => self.cut_http2_peer(id),
            }
        }
        closed
    }
}

/// Whom closing frees memory.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Offender {
    Connection(SubscriberKey),
    /// A connection of HTTP/2 whose client does not read what its streams were sent.
    Http2(u64),
}

/// What one is counted under who was closed because all together hold too much.
const FAULT: &str = "too-much-in-flight";
/// Who holds less is not closed for it: thousands of them would not free much.
const OFFENCE_BYTES_MIN: usize = 4 << 10;
const RELIEF_INTERVAL_MS: u64 = 10;
