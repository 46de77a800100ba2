//! Who is at the other end of a connection, from its accept to its end.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bongsu_core::pace::Meter;

use super::{Admission, AdmissionLimits, key_of};
use crate::worker::Door;

/// What a connection is known by from its accept on. Streams of an HTTP/2 connection share theirs.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// The listener it came in by.
    pub(crate) door: Door,
    /// Whether its peer is a proxy whose word on its clients is taken.
    pub(crate) from_proxy: bool,
    /// Its account; none for one that is exempt.
    pub(crate) guest: Option<Rc<Guest>>,
}

/// A connection that counts among those of its address, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Guest {
    address: IpAddr,
    admission: Arc<Admission>,
    publications: Cell<Meter>,
    bytes: Cell<Meter>,
    /// Until when nothing is read from it.
    paused_until_ms: Cell<u64>,
}

impl Visitor {
    /// One that is exempt from everything.
    pub(crate) fn exempt(door: Door) -> Self {
        Self { door, from_proxy: false, guest: None }
    }

    /// Whether nothing is to be read from it now.
    pub(crate) fn is_paused(&self, now_ms: u64) -> bool {
        self.guest.as_ref().is_some_and(|guest| guest.paused_until_ms.get() > now_ms)
    }
}

impl Guest {
    pub(super) fn new(address: IpAddr, admission: &Arc<Admission>) -> Rc<Self> {
        Rc::new(Self {
            address,
            admission: Arc::clone(admission),
            publications: Cell::default(),
            bytes: Cell::default(),
            paused_until_ms: Cell::new(0),
        })
    }

    /// The client's address, as far as it is known.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// In how many milliseconds it may publish; 0 is now.
    pub(crate) fn wait_ms(&self, limits: &AdmissionLimits, now_ms: u64) -> u64 {
        let own = limits.per_connection.wait_ms(self.publications.get(), self.bytes.get(), now_ms);
        let mut shard = self.admission.shard(self.address);
        let account = shard.entry(key_of(self.address)).or_default();
        own.max(limits.per_address.wait_ms(account.publications, account.bytes, now_ms))
    }

    /// Takes a publication of so many bytes into account.
    pub(crate) fn charge(&self, bytes: usize, limits: &AdmissionLimits, now_ms: u64) {
        let (mut own_publications, mut own_bytes) = (self.publications.get(), self.bytes.get());
        limits.per_connection.charge(&mut own_publications, &mut own_bytes, bytes as u64, now_ms);
        self.publications.set(own_publications);
        self.bytes.set(own_bytes);
        let mut shard = self.admission.shard(self.address);
        let account = shard.entry(key_of(self.address)).or_default();
        limits.per_address.charge(&mut account.publications, &mut account.bytes, bytes as u64, now_ms);
    }

    /// Has nothing read from it for so long.
    pub(crate) fn pause(&self, until_ms: u64) {
        self.paused_until_ms.set(until_ms);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut shard = self.admission.shard(self.address);
        if let Some(account) = shard.get_mut(&key_of(self.address)) {
            account.connections = account.connections.saturating_sub(1);
        }
    }
}
