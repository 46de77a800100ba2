//! The bounds by address and by pace, as the configuration has them.

use bongsu_core::pace::{Meter, Pace};

use super::{Account, Refusal};
use crate::config::{Config, Limits};
use crate::networks::Networks;

/// The bounds, as the configuration has them.
#[derive(Debug)]
pub(crate) struct AdmissionLimits {
    /// Who is held to none of them.
    pub(super) exempt: Networks,
    connections_per_address_max: usize,
    pub(super) arrivals: Pace,
    pub(super) arrivals_per_address: Pace,
    pub(super) per_connection: PublicationPaces,
    pub(super) per_address: PublicationPaces,
}

/// How fast may be published.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublicationPaces {
    publications: Pace,
    bytes: Pace,
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

    pub(super) fn check_room(&self, account: &Account) -> Result<(), Refusal> {
        let max = self.connections_per_address_max;
        if account.connections as usize >= max { Err(Refusal::FullForAddress { max }) } else { Ok(()) }
    }
}

impl PublicationPaces {
    pub(super) fn wait_ms(&self, publications: Meter, bytes: Meter, now_ms: u64) -> u64 {
        publications.wait_ms(self.publications, now_ms).max(bytes.wait_ms(self.bytes, now_ms))
    }

    pub(super) fn charge(&self, publications: &mut Meter, bytes: &mut Meter, size: u64, now_ms: u64) {
        publications.charge(1, self.publications, now_ms);
        bytes.charge(size, self.bytes, now_ms);
    }
}
