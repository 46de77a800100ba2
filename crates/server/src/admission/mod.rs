//! Who may come in, and how much each may do: connections by address and by pace, publications by pace. A worker asks once at the
//! accept, which is one look into a table, and at each publication; delivery asks nothing.

mod limits;
mod refusal;
mod visitor;

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bongsu_core::pace::Meter;

pub(crate) use limits::AdmissionLimits;
pub(crate) use refusal::Refusal;
pub(crate) use visitor::{Guest, Visitor};

/// What all workers know of the addresses that clients come from.
#[derive(Debug)]
pub(crate) struct Admission {
    shards: Box<[Mutex<HashMap<u64, Account>>]>,
    arrivals: Mutex<Meter>,
}

/// What one address has, and has done.
#[derive(Debug, Default)]
struct Account {
    connections: u32,
    arrivals: Meter,
    publications: Meter,
    bytes: Meter,
}

impl Default for Admission {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), arrivals: Mutex::default() }
    }
}

impl Admission {
    /// A new connection from an address. None for one that is exempt.
    pub(crate) fn arrive(self: &Arc<Self>, address: IpAddr, limits: &AdmissionLimits, now_ms: u64) -> Result<Option<Rc<Guest>>, Refusal> {
        if limits.exempt.contains(address) {
            return Ok(None);
        }
        let mut shard = self.shard(address);
        let account = shard.entry(key_of(address)).or_default();
        limits.check_room(account)?;
        let wait_ms = account.arrivals.wait_ms(limits.arrivals_per_address, now_ms);
        if wait_ms > 0 {
            return Err(Refusal::TooFastForAddress { wait_ms });
        }
        locked(&self.arrivals).take(1, limits.arrivals, now_ms).map_err(|wait_ms| Refusal::TooFast { wait_ms })?;
        account.arrivals.charge(1, limits.arrivals_per_address, now_ms);
        account.connections += 1;
        drop(shard);
        Ok(Some(Guest::new(address, self)))
    }

    /// A request that a proxy passes on from an address: it counts as a connection while it lasts, but as no new one.
    pub(crate) fn pass_on(self: &Arc<Self>, address: IpAddr, limits: &AdmissionLimits) -> Result<Option<Rc<Guest>>, Refusal> {
        if limits.exempt.contains(address) {
            return Ok(None);
        }
        let mut shard = self.shard(address);
        let account = shard.entry(key_of(address)).or_default();
        limits.check_room(account)?;
        account.connections += 1;
        drop(shard);
        Ok(Some(Guest::new(address, self)))
    }

    /// Takes a publication into account that comes without a connection, or says in how many milliseconds its address may publish again.
    pub(crate) fn publish_from(&self, address: IpAddr, bytes: usize, limits: &AdmissionLimits, now_ms: u64) -> Result<(), u64> {
        if limits.exempt.contains(address) {
            return Ok(());
        }
        let mut shard = self.shard(address);
        let account = shard.entry(key_of(address)).or_default();
        match limits.per_address.wait_ms(account.publications, account.bytes, now_ms) {
            0 => limits.per_address.charge(&mut account.publications, &mut account.bytes, bytes as u64, now_ms),
            wait_ms => return Err(wait_ms),
        }
        Ok(())
    }

    /// Forgets the addresses of which nothing counts any more.
    pub(crate) fn sweep(&self, now_ms: u64) {
        for shard in &self.shards {
            locked(shard).retain(|_, account| account.counts(now_ms));
        }
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, HashMap<u64, Account>> {
        // Addresses are near each other: a multiplication spreads them.
        let spread = key_of(address).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        locked(&self.shards[spread as usize % SHARDS])
    }
}

impl Account {
    fn counts(&self, now_ms: u64) -> bool {
        self.connections > 0 || [self.arrivals, self.publications, self.bytes].iter().any(|meter| !meter.is_full(now_ms))
    }
}

/// What counts as one address: of IPv6 a network of 64 bits, which a single client has to itself (RFC 6177, 2).
fn key_of(address: IpAddr) -> u64 {
    match address.to_canonical() {
        // ffff:ffff::/32 is multicast, where no client is.
        IpAddr::V4(address) => 0xFFFF_FFFF_0000_0000 | u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many that two workers seldom meet.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests;
