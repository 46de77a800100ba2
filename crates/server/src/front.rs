//! Whose a connection is, by its first bytes. A worker asks before it reads the first request.

/// What the first bytes of a connection begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A request of HTTP/1.1, or what will be refused as one.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// A handshake of TLS, which is not spoken here.
    Tls,
    /// More bytes will tell.
    Undecided,
}

/// Says whose a connection is that began with these bytes.
pub fn whose(first: &[u8]) -> Whose {
    match first {
        _ if first.starts_with(PREFACE) => Whose::Http2,
        _ if PREFACE.starts_with(first) => Whose::Undecided,
        [TLS_HANDSHAKE] => Whose::Undecided,
        [TLS_HANDSHAKE, TLS_MAJOR, ..] => Whose::Tls,
        _ => Whose::Http1,
    }
}

/// What a connection of HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The type of a TLS record with a ClientHello, and the major version of all TLS records (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;
const TLS_MAJOR: u8 = 3;

/// The alert `handshake_failure`, in the form of TLS 1.2 that every client reads: it then says more than "connection reset".
pub const TLS_REFUSAL: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_them_apart_at_every_cut() {
        for cut in 0..PREFACE.len() {
            assert_eq!(whose(&PREFACE[..cut]), Whose::Undecided, "{cut}");
        }
        assert_eq!(whose(PREFACE), Whose::Http2);
        assert_eq!(whose(b"POST / HTTP/1.1\r\n"), Whose::Http1);
        assert_eq!(whose(b"PRI * HTTP/2.0\r\n\r\nSN"), Whose::Http1);
        assert_eq!(whose(b"G"), Whose::Http1);
        assert_eq!(whose(&[22]), Whose::Undecided);
        assert_eq!(whose(&[22, 3, 1, 2, 0, 1]), Whose::Tls);
        assert_eq!(whose(&[22, 4]), Whose::Http1);
    }
}
