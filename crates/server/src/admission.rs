//! Who may come in, and how much each may do: connections by address and by pace, publications by pace. A worker asks once at the
//! accept, which is one look into a table, and at each publication; delivery asks nothing.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bongsu_core::pace::{Meter, Pace};

use crate::config::{Config, Limits};
use crate::http::Problem;
use crate::networks::Networks;
use crate::worker::Door;

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

/// The bounds, as the configuration has them.
#[derive(Debug)]
pub(crate) struct AdmissionLimits {
    /// Who is held to none of them.
    exempt: Networks,
    connections_per_address_max: usize,
    arrivals: Pace,
    arrivals_per_address: Pace,
    per_connection: PublicationPaces,
    per_address: PublicationPaces,
}

/// How fast may be published.
#[derive(Debug, Clone, Copy)]
struct PublicationPaces {
    publications: Pace,
    bytes: Pace,
}

/// Why a connection is not taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// As many connections as the server may have.
    #[error("the server is at its limits; come back later")]
    Full,
    /// As many connections as one address may have.
    #[error("your address has {max} connections, as many as one may have; close some, or come back later")]
    FullForAddress {
        /// The bound.
        max: usize,
    },
    /// More new connections than the server takes in a second.
    #[error("too many clients connect at once; come back in a moment")]
    TooFast {
        /// When there is room again.
        wait_ms: u64,
    },
    /// More new connections than one address may make in a second.
    #[error("your address connects too often; keep connections, or come back in a moment")]
    TooFastForAddress {
        /// When it may again.
        wait_ms: u64,
    },
}

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
        Ok(Some(self.guest(address)))
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
        Ok(Some(self.guest(address)))
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

    fn guest(self: &Arc<Self>, address: IpAddr) -> Rc<Guest> {
        Rc::new(Guest {
            address,
            admission: Arc::clone(self),
            publications: Cell::default(),
            bytes: Cell::default(),
            paused_until_ms: Cell::new(0),
        })
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

impl AdmissionLimits {
    /// What a configuration says.
    pub(crate) fn new(config: &Config) -> Self {
        let Limits { burst, .. } = config.limits;
        let pace = |per_second: u64| Pace::new(per_second, burst.as_millis());
        let limits = &config.limits;
        Self {
            exempt: Networks::of(&limits.exempt),
            connections_per_address_max: limits.connections_per_address_max,
            arrivals: pace(limits.connections_per_second as u64),
            arrivals_per_address: pace(limits.connections_per_second_per_address as u64),
            per_connection: PublicationPaces {
                publications: pace(limits.publications_per_second as u64),
                bytes: pace(limits.publication_bytes_per_second.get()),
            },
            per_address: PublicationPaces {
                publications: pace(limits.publications_per_second_per_address as u64),
                bytes: pace(limits.publication_bytes_per_second_per_address.get()),
            },
        }
    }

    fn check_room(&self, account: &Account) -> Result<(), Refusal> {
        let max = self.connections_per_address_max;
        if account.connections as usize >= max { Err(Refusal::FullForAddress { max }) } else { Ok(()) }
    }
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

impl PublicationPaces {
    fn wait_ms(&self, publications: Meter, bytes: Meter, now_ms: u64) -> u64 {
        publications.wait_ms(self.publications, now_ms).max(bytes.wait_ms(self.bytes, now_ms))
    }

    fn charge(&self, publications: &mut Meter, bytes: &mut Meter, size: u64, now_ms: u64) {
        publications.charge(1, self.publications, now_ms);
        bytes.charge(size, self.bytes, now_ms);
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

impl Refusal {
    /// Its name.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Full => "too-many-connections",
            Self::FullForAddress { .. } => "too-many-connections-of-address",
            Self::TooFast { .. } => "too-many-new-connections",
            Self::TooFastForAddress { .. } => "too-many-new-connections-of-address",
        }
    }

    /// How it is told over HTTP.
    pub(crate) fn problem(&self) -> Problem {
        let (status, retry_ms) = match self {
            Self::Full => (503, 5_000),
            Self::FullForAddress { .. } => (429, 5_000),
            Self::TooFast { wait_ms } => (503, *wait_ms),
            Self::TooFastForAddress { wait_ms } => (429, *wait_ms),
        };
        Problem::new(status, self.code(), self).with("retry-after", retry_ms.div_ceil(1000).max(1))
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
mod tests {
    use super::*;

    fn limits(set: impl FnOnce(&mut Limits)) -> AdmissionLimits {
        let mut config = Config::default();
        config.limits.burst = crate::config::Period::secs(1);
        set(&mut config.limits);
        AdmissionLimits::new(&config)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_so_many_connections_and_gives_them_back() {
        let (admission, limits) = (Arc::new(Admission::default()), limits(|limits| limits.connections_per_address_max = 2));
        let arrive = |text: &str| admission.arrive(address(text), &limits, 1);
        let first = arrive("192.0.2.1").expect("room").expect("a guest");
        let _second = arrive("192.0.2.1").expect("room");
        assert_eq!(arrive("192.0.2.1").err(), Some(Refusal::FullForAddress { max: 2 }));
        assert!(arrive("192.0.2.2").is_ok(), "another address has its own");
        assert_eq!(admission.pass_on(first.address(), &limits).err(), Some(Refusal::FullForAddress { max: 2 }));
        drop(first);
        assert!(arrive("::ffff:192.0.2.1").is_ok(), "it is the same address");
        for _ in 0..10 {
            assert!(arrive("127.0.0.1").expect("exempt").is_none());
        }
    }

    #[test]
    fn of_ipv6_a_network_of_64_bits_is_one_address() {
        let (admission, limits) = (Arc::new(Admission::default()), limits(|limits| limits.connections_per_address_max = 1));
        let _first = admission.arrive(address("2001:db8:0:1::1"), &limits, 1).expect("room");
        assert!(admission.arrive(address("2001:db8:0:1:ffff::2"), &limits, 1).is_err());
        assert!(admission.arrive(address("2001:db8:0:2::1"), &limits, 1).is_ok());
    }

    #[test]
    fn new_connections_have_a_pace_of_their_own_and_one_of_all() {
        let admission = Arc::new(Admission::default());
        let limits = limits(|limits| (limits.connections_per_second_per_address, limits.connections_per_second) = (3, 5));
        let arrive = |text: &str| admission.arrive(address(text), &limits, 1_000).map(drop);
        assert!((0..3).all(|_| arrive("192.0.2.1") == Ok(())));
        assert!(matches!(arrive("192.0.2.1"), Err(Refusal::TooFastForAddress { .. })));
        assert!((0..2).all(|_| arrive("192.0.2.2") == Ok(())));
        assert!(matches!(arrive("192.0.2.2"), Err(Refusal::TooFast { .. })));
        assert!(admission.arrive(address("192.0.2.1"), &limits, 3_000).is_ok());
    }

    #[test]
    fn an_address_with_many_connections_publishes_at_the_pace_of_one() {
        let admission = Arc::new(Admission::default());
        let limits = limits(|limits| (limits.publications_per_second, limits.publications_per_second_per_address) = (10, 15));
        let guests = [0; 2].map(|_| admission.arrive(address("192.0.2.1"), &limits, 1).expect("room").expect("a guest"));
        let published = |guest: &Guest| {
            (0..20)
                .take_while(|_| {
                    guest.wait_ms(&limits, 1) == 0 && {
                        guest.charge(1, &limits, 1);
                        true
                    }
                })
                .count()
        };
        assert_eq!((published(&guests[0]), published(&guests[1])), (10, 5));
        drop(guests);
        admission.sweep(1);
        let remembered = |admission: &Admission| admission.shards.iter().map(|shard| locked(shard).len()).sum::<usize>();
        assert_eq!(remembered(&admission), 1, "who was here a moment ago is not forgotten by hanging up");
        admission.sweep(60_000);
        assert_eq!(remembered(&admission), 0);
    }
}
