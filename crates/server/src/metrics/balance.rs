//! What was offered to subscribers and where it went: numbers that add up, and so are told all at once.

use super::labels::{Label, TransportKind};

/// What was offered over one transport: always the sum of what was delivered, dropped, conflated and abandoned, and of what is pending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Publications that subscribers were to get.
    pub offered: u64,
    /// Handed to the kernel, whole or in part.
    pub delivered: u64,
    /// Replaced by a gap, since history no longer held them or the channel drops.
    pub dropped: u64,
    /// Replaced by a gap, since there is a newer one of their key.
    pub conflated: u64,
    /// Still to be handed to the kernel.
    pub pending: u64,
    /// Pending when the subscription ended.
    pub abandoned: u64,
    /// How often a subscriber began to hold its channel's publishers back.
    pub holds: u64,
}

/// The balance of each transport.
#[derive(Debug, Clone, Default)]
pub struct Balances([Balance; TransportKind::COUNT]);

impl Balances {
    /// Adds to what a transport was offered.
    pub fn add(&mut self, transport: TransportKind, other: Balance) {
        self.0[transport.index()].add(other);
    }

    /// Adds all of another.
    pub(super) fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(balance, other)| balance.add(*other));
    }

    /// That of one transport.
    pub(super) fn get(&self, transport: TransportKind) -> Balance {
        self.0[transport.index()]
    }
}

impl Balance {
    fn add(&mut self, other: Self) {
        self.offered += other.offered;
        self.delivered += other.delivered;
        self.dropped += other.dropped;
        self.conflated += other.conflated;
        self.pending += other.pending;
        self.abandoned += other.abandoned;
        self.holds += other.holds;
    }
}
