//! Answers over HTTP that are longer than what a client takes at once. They are written as they are taken, a piece a turn, so that no
//! client's answer is held in memory and no other client waits for it.

use std::collections::BTreeMap;

use bongsu_core::hub::{History, Sink, SubscriberKey, Written};
use bongsu_core::limits::PageLimits;
use bongsu_core::position::Offset;
use bytes::BytesMut;

use super::Worker;
use crate::connection::Phase;
use crate::http::Unsent;
use crate::metrics::CloseReason;

/// What is still to be written of the answers of one worker, by connection.
pub(crate) type Answers = BTreeMap<SubscriberKey, Unsent>;

impl Worker {
    /// Begins an answer that is written as it is taken, with its head unless that has gone out.
    pub(crate) fn begin_answer(&mut self, key: SubscriberKey, head: BytesMut, mut unsent: Unsent) {
        unsent.lead_with(head);
        self.answers.insert(key, unsent);
    }

    /// Whether something that was to go out to a connection has not.
    pub(crate) fn owes(&self, key: SubscriberKey) -> bool {
        self.hub.waiting_bytes(key) > 0 || self.answers.contains_key(&key)
    }

    /// Writes the next piece of a connection's answer, if it has one, after what waits for it. Tells whether it is still owed something.
    pub(crate) fn go_on_answering(&mut self, key: SubscriberKey) -> bool {
        if self.answers.is_empty() || self.hub.waiting_bytes(key) > 0 {
            return self.owes(key);
        }
        let Some(mut unsent) = self.answers.remove(&key) else { return false };
        let Some(connection) = self.hub.sink(key) else { return false };
        let piece = unsent.piece();
        let taken = match connection.try_write_vectored(piece.slices()) {
            Written::All => piece.bytes(),
            Written::Part(taken) => taken,
            Written::Gone => {
                self.close(key, CloseReason::Vanished);
                return true;
            }
        };
        let rest = unsent.taken(piece, taken);
        if !unsent.is_done() {
            self.answers.insert(key, unsent);
        }
        if !rest.is_empty() {
            self.send(key, rest);
        }
        let owes = self.owes(key);
        if owes && self.hub.waiting_bytes(key) == 0 {
            // It takes more: it goes on once others had their turn.
            self.write_on(key);
        }
        owes
    }

    /// How many bytes of memory the answers take that are not written yet, beside what the hub holds of them.
    pub(crate) fn answers_bytes(&self) -> usize {
        self.answers.values().map(|unsent| self.answer_bytes(unsent)).sum()
    }

    /// The same of one.
    pub(crate) fn answer_bytes(&self, unsent: &Unsent) -> usize {
        let engine = self.shared.engine.of_worker(self.index);
        unsent.held_bytes(|channel, next| {
            let offset = next.position.offset;
            let floor = engine.page(channel, offset, offset, NONE).floor;
            if floor.epoch == next.position.epoch { floor.offset } else { Offset::MAX }
        })
    }

    /// Closes those who take none of an answer that waits for them. Nothing can be told to them: it would have to wait too.
    pub(super) fn close_stalled(&mut self, key: SubscriberKey) -> bool {
        let owes = self.owes(key);
        let Some(connection) = self.hub.sink(key) else { return false };
        let answers = matches!(connection.phase, Phase::Head | Phase::Body(_) | Phase::Closing(_));
        if !owes || !answers {
            return false;
        }
        self.metrics.fault(NOT_TAKEN);
        self.close(key, CloseReason::Slow);
        true
    }
}

/// What one is counted under who takes nothing of an answer.
const NOT_TAKEN: &str = "answer-not-taken";
const NONE: PageLimits = PageLimits { publications_max: 0, bytes_max: 0 };
