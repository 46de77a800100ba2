//! Transactions: what was sent and acknowledged within one waits, bounded, for its COMMIT.

use std::collections::BTreeMap;

use super::fault::{StompFault, quote};
use super::send::Sent;
use super::subscription::{MessageId, SubscriptionKey};
use super::{Frame, StompLimits};
use crate::queue::Verdict;

/// What a committed transaction does, in the order sent.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) sent: Vec<Sent>,
    pub(super) answers: Vec<Answer>,
    bytes: usize,
}

/// An ACK or NACK.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) subscription: SubscriptionKey,
    pub(super) message: MessageId,
    pub(super) verdict: Verdict,
}

/// The open transactions of a client.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: BTreeMap<Box<str>, Transaction>,
    frames: usize,
    bytes: usize,
}

impl Transactions {
    /// How many bytes they hold.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn begin(&mut self, frame: &Frame, limits: &StompLimits) -> Result<(), StompFault> {
        let id = frame.require_id("transaction", limits)?;
        if self.open.contains_key(id) {
            return Err(StompFault::TransactionExists { id: quote(id.as_bytes()) });
        }
        if self.open.len() >= limits.transactions_max {
            return Err(StompFault::TooManyTransactions { max: limits.transactions_max });
        }
        self.open.insert(id.into(), Transaction::default());
        Ok(())
    }

    /// Ends a transaction, to commit what it holds or to let it go.
    pub(super) fn end(&mut self, frame: &Frame) -> Result<Transaction, StompFault> {
        let id = frame.require("transaction")?;
        let transaction = self.open.remove(id).ok_or_else(|| unknown(id))?;
        self.frames -= transaction.sent.len() + transaction.answers.len();
        self.bytes -= transaction.bytes;
        Ok(transaction)
    }

    pub(super) fn add_sent(&mut self, id: &str, sent: Sent, limits: &StompLimits) -> Result<(), StompFault> {
        let bytes = sent.draft().cost_bytes();
        let transaction = self.room(id, bytes, limits)?;
        transaction.sent.push(sent);
        Ok(())
    }

    pub(super) fn add_answer(&mut self, id: &str, answer: Answer, limits: &StompLimits) -> Result<(), StompFault> {
        let bytes = answer.subscription.as_str().len() + ANSWER_BYTES;
        let transaction = self.room(id, bytes, limits)?;
        transaction.answers.push(answer);
        Ok(())
    }

    /// The transaction, if one more frame of so many bytes has room in it.
    fn room(&mut self, id: &str, bytes: usize, limits: &StompLimits) -> Result<&mut Transaction, StompFault> {
        let transaction = self.open.get_mut(id).ok_or_else(|| unknown(id))?;
        if self.frames >= limits.transaction_frames_max || self.bytes + bytes > limits.transaction_bytes_max {
            let (frames_max, bytes_max) = (limits.transaction_frames_max, limits.transaction_bytes_max);
            return Err(StompFault::TransactionTooLarge { frames_max, bytes_max });
        }
        self.frames += 1;
        self.bytes += bytes;
        transaction.bytes += bytes;
        Ok(transaction)
    }
}

/// What an ACK that waits costs beside its subscription's id.
const ANSWER_BYTES: usize = 64;

fn unknown(id: &str) -> StompFault {
    StompFault::UnknownTransaction { id: quote(id.as_bytes()) }
}
