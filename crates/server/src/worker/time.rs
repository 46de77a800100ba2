//! What happens with time: deadlines, heartbeats, those who are too slow, and what is too old.

use std::sync::Arc;

use bongsu_core::hub::SubscriberKey;

use super::Worker;
use crate::connection::Phase;
use crate::deadlines::Up;
use crate::metrics::CloseReason;

impl Worker {
    /// Has `on_due` called for a connection, unless it is armed anew before.
    pub(crate) fn arm(&mut self, key: SubscriberKey, due_ms: u64) {
        let Some(connection) = self.hub.sink(key) else { return };
        if connection.alarm.set(due_ms) {
            let comes_up_ms = self.deadlines.arm(key, connection.generation, due_ms);
            connection.alarm.armed(comes_up_ms);
        }
    }

    /// What happens with time. Called every tick.
    pub(crate) fn tick(&mut self) {
        let now_ms = self.now_ms();
        if !self.ticking.goes_on(now_ms) {
            return;
        }
        let mut due = std::mem::take(&mut self.due);
        self.deadlines.take_due(now_ms, &mut due);
        for entry in due.drain(..) {
            let Some(connection) = self.hub.sink(entry.key).filter(|connection| connection.generation == entry.generation) else {
                continue;
            };
            match connection.alarm.comes_up(&entry, now_ms) {
                Up::Nothing => (),
                Up::Later(due_ms) => self.arm(entry.key, due_ms),
                Up::Due => self.on_due(entry.key, now_ms),
            }
        }
        self.due = due;
        self.ticks += 1;
        self.resume_paused(now_ms);
        if self.ticks.is_multiple_of(TICKS_PER_LAG_CHECK) {
            self.close_slow(now_ms);
            self.look_at_burden();
        }
        if self.ticks.is_multiple_of(TICKS_PER_SWEEP) {
            self.sweep();
        }
        self.expire_held(now_ms);
        self.go_on_leaving(now_ms);
        self.settle();
    }

    fn on_due(&mut self, key: SubscriberKey, now_ms: u64) {
        let Some(connection) = self.hub.sink(key) else { return };
        if connection.link.is_handshaking() {
            return self.on_handshake_due(key);
        }
        let is_held = connection.held.is_some();
        if self.is_paused(key) {
            self.excuse(key, now_ms);
        }
        let Some(connection) = self.hub.sink(key) else { return };
        match &connection.phase {
            // A request that waits to publish has come whole.
            Phase::Head | Phase::Body(_) if is_held => self.arm(key, now_ms + HELD_MS),
            Phase::Head | Phase::Body(_) => self.on_request_due(key),
            Phase::Waiting(_) => self.on_wait_over(key),
            Phase::Streaming(_) => self.on_heartbeat_due(key, now_ms),
            Phase::WebSocket(_) => self.on_ping_due(key, now_ms),
            Phase::Lines(_) => self.on_lines_due(key, now_ms),
            Phase::Datagrams(_) => self.on_lease_due(key, now_ms),
            Phase::Stomp(_) => self.on_stomp_due(key, now_ms),
            Phase::Handover => (),
            Phase::Closing(reason) => {
                let reason = *reason;
                self.on_closing_due(key, reason, now_ms);
            }
        }
    }

    /// A client that is not listened to is not to be taken for a silent one: it counts as heard now.
    pub(crate) fn excuse(&mut self, key: SubscriberKey, now_ms: u64) {
        let frame_timeout_ms = self.shared.config.stomp.frame_timeout.as_millis();
        let Some(connection) = self.hub.sink(key) else { return };
        match &mut connection.phase {
            Phase::WebSocket(websocket) => websocket.excuse(now_ms),
            Phase::Lines(lines) => lines.excuse(now_ms),
            _ => (),
        }
        if let Some(stomp) = connection.phase.stomp_mut() {
            stomp.excuse(now_ms, frame_timeout_ms);
        }
    }

    /// An answer that is still being read, however slowly, may go on; everything else has had its time.
    fn on_closing_due(&mut self, key: SubscriberKey, reason: CloseReason, now_ms: u64) {
        let patience_ms = self.shared.config.http.idle_timeout.as_millis();
        let stalled_ms = self.hub.stalled_ms(key, now_ms);
        if reason == CloseReason::Done && self.owes(key) && stalled_ms < patience_ms {
            return self.arm(key, now_ms + patience_ms - stalled_ms);
        }
        self.close(key, reason);
    }

    fn close_slow(&mut self, now_ms: u64) {
        let shared = Arc::clone(&self.shared);
        let slow = self.hub.find_slow(&Self::watching(&shared, self.index), now_ms);
        for (key, why) in slow {
            if !self.close_stalled(key) {
                self.disconnect(key, &why);
            }
        }
        self.tallies.report(&self.hub, self.held.len(), &self.metrics);
    }

    fn sweep(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.hub.sweep(&Self::watching(&shared, self.index));
        if self.index == 0 {
            shared.engine.sweep();
            shared.admission.sweep(self.now_ms());
            shared.metrics.history_bytes().set(shared.engine.held_bytes() as i64);
            shared.metrics.channels().set(shared.engine.channels() as i64);
            shared.engine.queues().sweep();
            let (depth, counts) = shared.engine.queues().totals();
            shared.metrics.set_queues(depth, counts);
        }
    }
}

/// When the last tick was. Where a worker was not run for a time, since its process was stopped or its machine stood still, what clients
/// sent meanwhile waits in their sockets: it is read before anyone is judged by the clock, or all would be taken for silent at once.
#[derive(Debug, Default)]
pub(super) struct Ticking {
    last_ms: u64,
    /// Until when it is only read, after such a time.
    reading_until_ms: Option<u64>,
}

impl Ticking {
    pub(super) fn begun(now_ms: u64) -> Self {
        Self { last_ms: now_ms, reading_until_ms: None }
    }

    /// Whether what is due at this tick may be. A worker that is late at every tick puts it off every other time, and not for good.
    fn goes_on(&mut self, now_ms: u64) -> bool {
        let stood_still = now_ms.saturating_sub(std::mem::replace(&mut self.last_ms, now_ms)) > STOOD_STILL_MS;
        match self.reading_until_ms {
            None if stood_still => self.reading_until_ms = Some(now_ms + READING_MS),
            Some(until_ms) if now_ms >= until_ms => self.reading_until_ms = None,
            _ => (),
        }
        self.reading_until_ms.is_none()
    }
}

/// How late a tick must be for its worker to have stood still.
const STOOD_STILL_MS: u64 = 500;
/// How long is only read then.
const READING_MS: u64 = 250;
/// How often it is asked whether a request that waits to publish still does.
const HELD_MS: u64 = 1000;
const TICKS_PER_LAG_CHECK: u64 = 5;
const TICKS_PER_SWEEP: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_judged_right_after_a_standstill() {
        let mut ticking = Ticking::begun(0);
        let ticks = [50, 100, 600, 9_000, 9_050, 9_200, 9_250, 9_300];
        let went_on = ticks.map(|now_ms| ticking.goes_on(now_ms));
        assert_eq!(went_on, [true, true, true, false, false, false, true, true]);
    }

    #[test]
    fn a_worker_that_is_always_late_still_judges() {
        let mut ticking = Ticking::begun(0);
        let went_on = [1_000, 2_000, 3_000, 4_000].map(|now_ms| ticking.goes_on(now_ms));
        assert_eq!(went_on, [false, true, false, true]);
    }
}
