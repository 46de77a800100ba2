//! Version 2 of the PROXY protocol: sixteen bytes, addresses, and extensions that are passed over.

use std::net::{IpAddr, SocketAddr};

use super::{HEADER_BYTES_MAX, Preamble, PreambleFault};

/// Reads the header (2.2): signature, version and command, family, length, addresses.
pub(super) fn read(first: &[u8]) -> Result<Preamble, PreambleFault> {
    let Some(&[version_command, family, high, low]) = first.get(SIGNATURE.len()..FIXED_BYTES).and_then(|fixed| fixed.first_chunk()) else {
        return Ok(Preamble::More(FIXED_BYTES));
    };
    if version_command >> 4 != 2 {
        return Err(fault("the version is not 2"));
    }
    let len = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if len > HEADER_BYTES_MAX {
        return Err(PreambleFault::TooLong { len });
    }
    let Some(addresses) = first.get(FIXED_BYTES..len) else { return Ok(Preamble::More(len)) };
    let source = match version_command & 0xF {
        LOCAL => None,
        PROXY => source(family, addresses)?,
        _ => return Err(fault("the command is neither LOCAL nor PROXY")),
    };
    Ok(Preamble::Header { len, source })
}

/// The client's address; none for a family that has none we know.
fn source(family: u8, addresses: &[u8]) -> Result<Option<SocketAddr>, PreambleFault> {
    match family {
        TCP_OVER_IPV4 => of_family::<4, 12>(addresses),
        TCP_OVER_IPV6 => of_family::<16, 36>(addresses),
        UNSPECIFIED | UNIX_STREAM => Ok(None),
        _ => Err(fault("the family is none that a stream can have")),
    }
}

/// Source address, destination address, source port, destination port.
fn of_family<const ADDRESS: usize, const ALL: usize>(addresses: &[u8]) -> Result<Option<SocketAddr>, PreambleFault>
where
    [u8; ADDRESS]: Into<IpAddr>,
{
    let all: &[u8; ALL] = addresses.first_chunk().ok_or(fault("shorter than the addresses of its family"))?;
    let address: [u8; ADDRESS] = *all.first_chunk().ok_or(fault("shorter than the addresses of its family"))?;
    let port = u16::from_be_bytes([all[2 * ADDRESS], all[2 * ADDRESS + 1]]);
    Ok(Some(SocketAddr::new(address.into(), port)))
}

fn fault(what: &'static str) -> PreambleFault {
    PreambleFault::BadHeader { what }
}

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

#[cfg(test)]
mod tests {
    use super::super::preamble;
    use super::*;

    fn header(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        [SIGNATURE, &[version_command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
    }

    const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 1, 0xDC, 0x04, 1, 187];

    #[test]
    fn tells_the_client_and_passes_over_extensions() {
        let with_tlv = [V4, &[0x04, 0, 1, 0]].concat();
        for rest in [V4, &with_tlv] {
            let bytes = header(0x21, TCP_OVER_IPV4, rest);
            let source = Some("192.0.2.1:56324".parse().expect("an address"));
            assert_eq!(preamble(&bytes), Ok(Preamble::Header { len: bytes.len(), source }));
            for cut in 0..bytes.len() {
                let found = preamble(&bytes[..cut]);
                assert!(matches!(found, Ok(Preamble::More(least)) if least > cut && least <= bytes.len()), "{cut}: {found:?}");
            }
        }
        let mut v6 = [0; 36];
        (v6[0], v6[15], v6[33]) = (0x20, 1, 9);
        let source = Some("[2000::1]:9".parse().expect("an address"));
        assert_eq!(preamble(&header(0x21, TCP_OVER_IPV6, &v6)), Ok(Preamble::Header { len: 52, source }));
    }

    #[test]
    fn a_proxy_may_speak_for_itself_or_not_know() {
        for (command, family, rest) in [(0x20, 0, &[][..]), (0x20, 0x11, V4), (0x21, 0, &[]), (0x21, UNIX_STREAM, &[0; 216])] {
            let bytes = header(command, family, rest);
            assert_eq!(preamble(&bytes), Ok(Preamble::Header { len: bytes.len(), source: None }));
        }
    }

    #[test]
    fn refuses_what_is_not_exactly_so() {
        for (command, family, rest) in
            [(0x11, 0x11, V4), (0x22, 0x11, V4), (0x21, 0x11, &V4[1..]), (0x21, 0x21, V4), (0x21, 0x12, V4), (0x21, 0x51, V4)]
        {
            assert!(preamble(&header(command, family, rest)).is_err(), "{command:#x} {family:#x}");
        }
        assert_eq!(preamble(&header(0x21, 0x11, &[0; 5000])), Err(PreambleFault::TooLong { len: 5016 }));
    }
}
