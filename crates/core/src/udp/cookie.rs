//! Cookies: what an address is given to prove that it receives what is sent to it, without the server remembering anything.
//!
//! The idea is that of DTLS (RFC 9147, 5.1) and of QUIC's tokens (RFC 9000, 8.1.4): HMAC over the address and the time, under a key
//! that is changed as time goes by.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::UdpFault;

/// The keys of cookies. They follow from a secret and the time, so that every worker has the same without speaking to the others.
#[derive(Clone)]
pub struct CookieKeys {
    secret: [u8; 32],
    lifetime_ms: u64,
}

/// A cookie as it is written: 24 bytes in the alphabet of URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cookie([u8; COOKIE_BYTES]);

/// A cookie that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// How long ago it was given.
    pub age_ms: u64,
}

impl CookieKeys {
    /// Keys made of a secret of random bits. A cookie holds for `lifetime_ms`.
    pub fn new(secret: [u8; 32], lifetime_ms: u64) -> Self {
        Self { secret, lifetime_ms }
    }

    /// How long a cookie holds.
    pub fn lifetime_ms(&self) -> u64 {
        self.lifetime_ms
    }

    /// A cookie for an address. `chance` tells two cookies apart that the same address is given in the same millisecond.
    pub fn give(&self, address: SocketAddr, now_ms: u64, chance: u16) -> Cookie {
        let mut bytes = [0; COOKIE_BYTES];
        bytes[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
        bytes[6..8].copy_from_slice(&chance.to_be_bytes());
        let (own, bound) = self.tags(&bytes[..HEAD_BYTES], address, now_ms);
        bytes[HEAD_BYTES..HEAD_BYTES + OWN_BYTES].copy_from_slice(&own);
        bytes[HEAD_BYTES + OWN_BYTES..].copy_from_slice(&bound);
        Cookie(bytes)
    }

    /// Whether a cookie was given to this address, and not too long ago.
    pub fn check(&self, cookie: &Cookie, address: SocketAddr, now_ms: u64) -> Result<Checked, UdpFault> {
        let given_ms = cookie.given_ms();
        // A cookie of the future has no key yet that could have made it.
        let Some(age_ms) = now_ms.checked_sub(given_ms) else { return Err(UdpFault::ForgedCookie) };
        if age_ms > self.lifetime_ms {
            // Whether we gave it does not matter any more, so that nothing is computed for it.
            return Err(UdpFault::StaleCookie);
        }
        let head = &cookie.0[..HEAD_BYTES];
        if self.bound_mac(head, address, given_ms).verify_truncated_left(&cookie.0[HEAD_BYTES + OWN_BYTES..]).is_ok() {
            return Ok(Checked { age_ms });
        }
        // Only which of two faults is told hangs on this tag, so that its four bytes are enough.
        let is_ours = self.own_mac(head, given_ms).verify_truncated_left(&cookie.0[HEAD_BYTES..HEAD_BYTES + OWN_BYTES]).is_ok();
        Err(if is_ours { UdpFault::AddressChanged } else { UdpFault::ForgedCookie })
    }

    /// A tag that shows that we gave it, and one that shows to whom.
    fn tags(&self, head: &[u8], address: SocketAddr, given_ms: u64) -> ([u8; OWN_BYTES], [u8; BOUND_BYTES]) {
        let (own, bound) = (self.own_mac(head, given_ms).finalize(), self.bound_mac(head, address, given_ms).finalize());
        (first(&own.into_bytes()), first(&bound.into_bytes()))
    }

    fn own_mac(&self, head: &[u8], given_ms: u64) -> HmacSha256 {
        let mut mac = keyed(&self.key(given_ms));
        mac.update(b"own");
        mac.update(head);
        mac
    }

    fn bound_mac(&self, head: &[u8], address: SocketAddr, given_ms: u64) -> HmacSha256 {
        let mut mac = keyed(&self.key(given_ms));
        mac.update(b"bound");
        mac.update(head);
        // An IPv4 address that comes in by a socket of both families is the same address.
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        mac.update(&ip.octets());
        mac.update(&address.port().to_be_bytes());
        mac
    }

    /// The key of the span of time that a cookie was given in. Keys change with every lifetime, so that two of them hold at once.
    fn key(&self, given_ms: u64) -> [u8; 32] {
        let mut mac = keyed(&self.secret);
        mac.update(&(given_ms / self.lifetime_ms.max(1)).to_be_bytes());
        first(&mac.finalize().into_bytes())
    }
}

impl Cookie {
    /// Reads the written form.
    pub fn parse(text: &str) -> Result<Self, UdpFault> {
        let mut bytes = [0; COOKIE_BYTES];
        if text.len() != COOKIE_CHARS {
            return Err(UdpFault::MalformedCookie);
        }
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(COOKIE_BYTES) => Ok(Self(bytes)),
            _ => Err(UdpFault::MalformedCookie),
        }
    }

    /// The written form, always so many characters as `COOKIE_CHARS` says.
    pub fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    fn given_ms(&self) -> u64 {
        self.0[..6].iter().fold(0, |ms, &byte| ms << 8 | u64::from(byte))
    }
}

impl std::fmt::Debug for CookieKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CookieKeys").field("lifetime_ms", &self.lifetime_ms).finish_non_exhaustive()
    }
}

type HmacSha256 = Hmac<Sha256>;

fn keyed(key: &[u8; 32]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn first<const LEN: usize>(bytes: &[u8]) -> [u8; LEN] {
    std::array::from_fn(|at| bytes[at])
}

/// When it was given, in milliseconds, and chance.
const HEAD_BYTES: usize = 8;
/// That we gave it.
const OWN_BYTES: usize = 4;
/// That it is for this address: 96 bits, as in IPsec and as many as anyone has to guess online.
const BOUND_BYTES: usize = 12;
const COOKIE_BYTES: usize = HEAD_BYTES + OWN_BYTES + BOUND_BYTES;
/// The written form's length.
pub const COOKIE_CHARS: usize = COOKIE_BYTES.div_ceil(3) * 4;
