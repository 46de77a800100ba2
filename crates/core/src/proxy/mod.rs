//! What a proxy in front says of the client behind it: the PROXY protocol, before the first byte of a connection, and the headers
//! `Forwarded` and `X-Forwarded-For`, with each request. Whether a proxy is believed is decided by the server, not here.

pub mod forwarded;
mod v1;
mod v2;

use std::net::SocketAddr;

/// How far the first bytes of a connection have been understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preamble {
    /// The connection begins with a header of `len` bytes. `source` is the client; none if the proxy speaks for itself, as for a
    /// health check, or does not know.
    Header {
        /// How many bytes it has.
        len: usize,
        /// The client.
        source: Option<SocketAddr>,
    },
    /// A header has begun that has at least so many bytes in all.
    More(usize),
    /// No header: these are the client's own bytes.
    None,
}

/// Why a header of the PROXY protocol was refused. The connection ends with it: nothing after it could be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PreambleFault {
    /// Version 1 that breaks its grammar.
    #[error("the PROXY protocol header is malformed: {what}; see \"The PROXY protocol\", 2.1")]
    BadLine {
        /// What is wrong.
        what: &'static str,
    },
    /// Version 2 that breaks its grammar.
    #[error("the binary PROXY protocol header is malformed: {what}; see \"The PROXY protocol\", 2.2")]
    BadHeader {
        /// What is wrong.
        what: &'static str,
    },
    /// Longer than anyone needs.
    #[error("the PROXY protocol header has {len} bytes, over the limit of {HEADER_BYTES_MAX}; have the proxy send fewer TLVs")]
    TooLong {
        /// How long it says it is.
        len: usize,
    },
}

/// Reads the header of the PROXY protocol, version 1 or 2, at the beginning of a connection's bytes.
pub fn preamble(first: &[u8]) -> Result<Preamble, PreambleFault> {
    if begins(first, v1::SIGNATURE) {
        v1::read(first)
    } else if begins(first, v2::SIGNATURE) {
        v2::read(first)
    } else {
        Ok(Preamble::None)
    }
}

/// Whether the bytes begin with a signature, as far as there are any.
fn begins(first: &[u8], signature: &[u8]) -> bool {
    let count = first.len().min(signature.len());
    first[..count] == signature[..count]
}

/// The longest header that is read.
pub const HEADER_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_protocols_are_told_apart_at_the_first_byte_that_differs() {
        for first in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/2.0", b"POST /", b"{\"ping\":1}", b"\r\n\r\nGET", b"\x16\x03\x01", b"STOMP"]
        {
            assert_eq!(preamble(first), Ok(Preamble::None), "{first:?}");
        }
        for first in [&b""[..], b"P", b"PR", b"PROX", b"\r", b"\r\n\r\n"] {
            assert!(matches!(preamble(first), Ok(Preamble::More(least)) if least > first.len()), "{first:?}");
        }
    }

    proptest! {
        /// Reading as many bytes as it asks for, and no more, never takes one that is the client's; and it ends.
        #[test]
        fn asks_only_for_what_belongs_to_it(bytes in prop_oneof![
            "PROXY (TCP4|TCP6|UNKNOWN) [0-9a-f.:]{1,20} [0-9a-f.:]{1,20} [0-9]{1,6} [0-9]{1,6}\r\n.{0,40}".prop_map(String::into_bytes),
            (any::<u8>(), any::<u8>(), 0u16..300, prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(command, family, len, rest)| {
                [v2::SIGNATURE, &[command, family], &len.to_be_bytes(), &rest].concat()
            }),
            prop::collection::vec(any::<u8>(), 0..200),
        ]) {
            let mut seen = 0;
            for _ in 0..=bytes.len() {
                match preamble(&bytes[..seen]) {
                    Ok(Preamble::More(least)) if least <= bytes.len() => {
                        prop_assert!(least > seen);
                        seen = least;
                    }
                    Ok(Preamble::Header { len, source }) => {
                        prop_assert_eq!(len, seen);
                        prop_assert_eq!(preamble(&bytes), Ok(Preamble::Header { len, source }), "what follows changes nothing");
                        break;
                    }
                    _ => break,
                }
            }
        }
    }
}
