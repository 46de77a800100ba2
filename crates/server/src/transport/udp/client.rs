//! A client over UDP: an address that follows something, and how much it is sent.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;

use bongsu_core::hub::SubscriberKey;
use bongsu_core::udp::Pace;

use crate::config;

/// An address that follows something.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    /// Bytes that it is sent.
    pub(crate) pace: RefCell<Pace>,
    /// Repairs that it asks for.
    pub(crate) repairs: RefCell<Pace>,
    /// Its two connections in the hub, each there while something is followed by it: one gets everything, the other the newest of
    /// what is due.
    keys: [Cell<Option<SubscriberKey>>; 2],
}

impl Client {
    pub(super) fn new(address: SocketAddr, limits: &config::Udp, now_ms: u64) -> Self {
        let repairs = limits.repairs_per_second_max as u64;
        Self {
            address,
            pace: RefCell::new(Pace::new(
                limits.bytes_per_second_max.as_usize() as u64,
                limits.in_flight_bytes_max.as_usize() as u64,
                now_ms,
            )),
            repairs: RefCell::new(Pace::new(repairs, repairs, now_ms)),
            keys: [Cell::new(None), Cell::new(None)],
        }
    }

    /// The connection that gets everything, or the one that gets the newest.
    pub(super) fn key(&self, complete: bool) -> Option<SubscriberKey> {
        self.keys[usize::from(complete)].get()
    }

    pub(super) fn set_key(&self, complete: bool, key: SubscriberKey) {
        self.keys[usize::from(complete)].set(Some(key));
    }

    /// Its connections.
    pub(super) fn keys(&self) -> impl Iterator<Item = SubscriberKey> {
        [self.key(true), self.key(false)].into_iter().flatten()
    }

    pub(super) fn drop_key(&self, key: SubscriberKey) {
        for known in &self.keys {
            if known.get() == Some(key) {
                known.set(None);
            }
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.keys().next().is_none()
    }
}
