//! Version 1 of the PROXY protocol: a line that a person can read.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Preamble, PreambleFault};

/// Reads the line: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`, with its CR LF.
pub(super) fn read(first: &[u8]) -> Result<Preamble, PreambleFault> {
    let seen = &first[..first.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', seen) else {
        return if seen.len() < LINE_BYTES_MAX { Ok(Preamble::More(least(seen))) } else { Err(fault("no line end within 107 bytes")) };
    };
    match (seen[end], first.get(end + 1)) {
        (b'\r', Some(b'\n')) if end + 2 <= LINE_BYTES_MAX => (),
        (b'\r', None) => return Ok(Preamble::More(end + 2)),
        _ => return Err(fault("the line does not end in CR LF")),
    }
    let line = std::str::from_utf8(&first[..end]).map_err(|_| fault("not ASCII"))?;
    Ok(Preamble::Header { len: end + 2, source: source(line)? })
}

/// How many bytes the line has at least, of which these have come without its end.
fn least(seen: &[u8]) -> usize {
    (seen.len() + 2).max(SHORTEST.len())
}

fn source(line: &str) -> Result<Option<SocketAddr>, PreambleFault> {
    let mut words = line.split(' ').skip(1);
    match words.next() {
        // 2.1: what follows UNKNOWN is to be ignored.
        Some("UNKNOWN") => Ok(None),
        Some("TCP4") => addresses::<Ipv4Addr>(words).map(Some),
        Some("TCP6") => addresses::<Ipv6Addr>(words).map(Some),
        _ => Err(fault("the family is none of TCP4, TCP6 and UNKNOWN")),
    }
}

fn addresses<'a, A: FromStr + Into<std::net::IpAddr>>(mut words: impl Iterator<Item = &'a str>) -> Result<SocketAddr, PreambleFault> {
    let mut address = || words.next().and_then(|word| word.parse::<A>().ok()).ok_or(fault("an address is missing or not of its family"));
    let (source, _) = (address()?, address()?);
    let mut port = || words.next().and_then(port).ok_or(fault("a port is missing or no number up to 65535"));
    let (source_port, _) = (port()?, port()?);
    match words.next() {
        None => Ok(SocketAddr::new(source.into(), source_port)),
        Some(_) => Err(fault("more words than two addresses and two ports")),
    }
}

/// 2.1: decimal digits without leading zeros.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain)
}

fn fault(what: &'static str) -> PreambleFault {
    PreambleFault::BadLine { what }
}

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// The shortest line.
const SHORTEST: &[u8] = b"PROXY UNKNOWN\r\n";
/// 2.1: the longest line has 107 bytes.
const LINE_BYTES_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::super::preamble;
    use super::*;

    fn read_whole(line: &str) -> Result<Preamble, PreambleFault> {
        preamble(format!("{line}\r\nGET /").as_bytes())
    }

    fn client(text: &str, line: &str) -> Result<Preamble, PreambleFault> {
        Ok(Preamble::Header { len: line.len() + 2, source: Some(text.parse().expect("an address")) })
    }

    #[test]
    fn tells_the_client() {
        for (line, told) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443", "192.0.2.1:56324"),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535", "[2001:db8::1]:1"),
        ] {
            assert_eq!(read_whole(line), client(told, line), "{line}");
        }
        for line in ["PROXY UNKNOWN", "PROXY UNKNOWN ffff:f::1 x 1 2 3 4"] {
            assert_eq!(read_whole(line), Ok(Preamble::Header { len: line.len() + 2, source: None }), "{line}");
        }
    }

    #[test]
    fn waits_for_the_end_at_every_cut() {
        let line = "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
        for cut in 0..line.len() {
            let found = preamble(&line.as_bytes()[..cut]);
            assert!(matches!(found, Ok(Preamble::More(least)) if least > cut && least <= line.len()), "{cut}: {found:?}");
        }
    }

    #[test]
    fn refuses_what_is_not_exactly_so() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 x",
            "PROXY TCP4  192.0.2.1 198.51.100.1 56324 443",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 2",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 443",
            "PROXY TCP4 192.0.2.1 198.51.100.1 01 443",
            "PROXY TCP4 192.0.2.01 198.51.100.1 1 443",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 443",
            "PROXY ",
        ] {
            assert!(read_whole(line).is_err(), "{line}");
        }
        assert!(preamble(b"PROXY UNKNOWN\nGET /").is_err());
        assert!(preamble(b"PROXY UNKNOWN\rGET /").is_err());
        assert!(preamble(format!("PROXY UNKNOWN {}", "x".repeat(100)).as_bytes()).is_err());
    }
}
