//! One connection's side of delivery: its sink, its subscriptions, its outbox.

use smallvec::SmallVec;

use super::outbox::Outbox;
use crate::composite::Composite;
use crate::position::Offset;

/// A connection that takes frames.
pub(super) struct Subscriber<S> {
    pub(super) sink: S,
    pub(super) subscriptions: SmallVec<[Subscription; 1]>,
    /// Present while anything waits to leave: then no tape is written, so that frames stay whole and in order.
    pub(super) outbox: Option<Box<Outbox>>,
    /// For a connection that follows several channels by one cursor.
    pub(super) composite: Option<Box<Composite>>,
    /// Whether it is waiting for its sink to take more.
    pub(super) blocked: bool,
    /// Which of its subscriptions catches up next.
    pub(super) turn: u32,
}

/// One channel of a connection: a cursor on a tape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subscription {
    pub(super) tape: u32,
    /// Its index among the tape's live members, or `BEHIND`, or `SHUT`.
    pub(super) place: u32,
    /// The last publication sent; of no meaning while live, when it is the tape's end.
    pub(super) sent: Offset,
    /// Payload bytes of the channel when it joined: what came before is catch-up, not lag.
    pub(super) base_bytes: u64,
}

/// The place of a subscription that is behind its tape's end.
pub(super) const BEHIND: u32 = u32::MAX;

/// The place of one that is behind because its peer answers for what it gets and takes no more for now. It waits for
/// `Hub::window_opened`.
pub(super) const SHUT: u32 = u32::MAX - 1;

/// The tape of a slot that is free.
pub(super) const FREE: u32 = u32::MAX;

impl Subscription {
    /// Whether it has taken all that its tape holds.
    pub(super) fn is_live(&self) -> bool {
        self.place < SHUT
    }
}

impl<S> Subscriber<S> {
    pub(super) fn new(sink: S) -> Self {
        Self { sink, subscriptions: SmallVec::new(), outbox: None, composite: None, blocked: false, turn: 0 }
    }

    /// Whether a tape may be written to it directly.
    pub(super) fn is_clear(&self) -> bool {
        self.outbox.is_none()
    }

    /// The slot for one more subscription: a free one, or a new one.
    pub(super) fn slot(&mut self, subscription: Subscription) -> u32 {
        let free = self.subscriptions.iter().position(|slot| slot.tape == FREE);
        let slot = free.unwrap_or(self.subscriptions.len());
        match self.subscriptions.get_mut(slot) {
            Some(free) => *free = subscription,
            None => self.subscriptions.push(subscription),
        }
        slot as u32
    }

    /// The next subscription that is behind, in turn, so that one channel's catch-up does not starve another's.
    pub(super) fn next_behind(&mut self) -> Option<u32> {
        let count = self.subscriptions.len() as u32;
        let slot = (0..count).map(|step| (self.turn + step) % count).find(|&slot| {
            let subscription = &self.subscriptions[slot as usize];
            subscription.tape != FREE && subscription.place == BEHIND
        })?;
        self.turn = slot + 1;
        Some(slot)
    }
}
