//! The content coding of pages: gzip, where a client takes it and there is enough to gain. Streams are never coded, since a coder
//! would hold back what should leave at once.

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};

use super::negotiate::with_quality;
use super::request::Request;

/// What a request allows its answer to be coded as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    #[default]
    Identity,
    /// With gzip, if that is worth it.
    Gzip,
    /// With gzip, however short: the client refuses anything else.
    OnlyGzip,
}

/// Codes answers, one after the other. It takes no memory before the first, and some 300 KiB from then on.
#[derive(Debug)]
pub struct Coder {
    enabled: bool,
    level: u8,
    threshold_bytes: usize,
    gzip: Option<Compress>,
}

impl Coding {
    /// Chooses by `Accept-Encoding` (RFC 9110, 12.5.3). Without the header anything is allowed, and nothing is what people expect.
    pub fn of(request: &Request) -> Self {
        let (mut gzip, mut identity, mut any) = (None, None, None);
        for coding in request.header_items("accept-encoding") {
            let (name, quality) = with_quality(coding);
            let quality = Some(quality);
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match () {
                () if is("gzip") || is("x-gzip") => gzip = quality,
                () if is("identity") => identity = quality,
                () if is("*") => any = quality,
                () => (),
            }
        }
        // What is not named has the quality of the asterisk; identity is allowed unless it is refused, and wanted least.
        match (gzip.or(any).unwrap_or(0), identity.or(any.filter(|&quality| quality == 0))) {
            (0, _) => Self::Identity,
            (_, Some(0)) => Self::OnlyGzip,
            (gzip, Some(identity)) if identity > gzip => Self::Identity,
            _ => Self::Gzip,
        }
    }
}

impl Coder {
    /// A coder that has coded nothing yet.
    pub fn new(enabled: bool, level: u8, threshold_bytes: usize) -> Self {
        Self { enabled, level, threshold_bytes, gzip: None }
    }

    /// Whether an answer of so many bytes goes out coded. It depends on nothing else, so that a validator can be told without coding.
    pub fn applies(&self, coding: Coding, len: usize) -> bool {
        match coding {
            _ if !self.enabled => false,
            Coding::Identity => false,
            Coding::Gzip => len >= self.threshold_bytes,
            Coding::OnlyGzip => true,
        }
    }

    /// Codes a body.
    pub fn gzip(&mut self, body: &[u8]) -> Bytes {
        let level = Compression::new(self.level.into());
        let gzip = self.gzip.get_or_insert_with(|| Compress::new_gzip(level, WINDOW_BITS));
        gzip.reset();
        let mut coded = Vec::with_capacity(body.len() / 3 + ROOM_BYTES);
        loop {
            let taken = gzip.total_in() as usize;
            let status = gzip.compress_vec(&body[taken..], &mut coded, FlushCompress::Finish);
            if status.expect("a coder that is given room does not fail") == Status::StreamEnd {
                // It may have to wait for its client.
                coded.shrink_to_fit();
                return coded.into();
            }
            coded.reserve(coded.len() + ROOM_BYTES);
        }
    }
}

/// The value of `Content-Encoding`, and of the part of an `ETag` that tells the coded form from the plain one.
pub const GZIP: &str = "gzip";

const WINDOW_BITS: u8 = 15;
/// More than gzip's head and tail.
const ROOM_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use bytes::BytesMut;

    use super::*;
    use crate::http::HeadLimits;

    fn coding(headers: &str) -> Coding {
        let mut head = BytesMut::from(format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_str());
        let request = Request::parse(&mut head, HeadLimits { bytes_max: 1000, headers_max: 10 }).expect("well formed").expect("whole");
        Coding::of(&request)
    }

    #[test]
    fn the_client_chooses() {
        for (value, expected) in [
            ("gzip, deflate, br, zstd", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("GZIP;q=0.5", Coding::Gzip),
            ("*", Coding::Gzip),
            ("br, *;q=0.1", Coding::Gzip),
            ("identity, gzip", Coding::Gzip),
            ("gzip;q=0.5, identity;q=0.8", Coding::Identity),
            ("gzip;q=0", Coding::Identity),
            ("gzip;q=0, *", Coding::Identity),
            ("*;q=0", Coding::Identity),
            ("gzip;q=x", Coding::Identity),
            ("br, deflate", Coding::Identity),
            ("", Coding::Identity),
            ("identity;q=0, gzip;q=0.1", Coding::OnlyGzip),
            ("gzip, *;q=0", Coding::OnlyGzip),
        ] {
            assert_eq!(coding(&format!("accept-encoding: {value}\r\n")), expected, "{value}");
        }
        assert_eq!(coding(""), Coding::Identity);
        assert_eq!(coding("accept-encoding: br\r\naccept-encoding: gzip\r\n"), Coding::Gzip);
    }

    #[test]
    fn what_is_coded_can_be_read() {
        let mut coder = Coder::new(true, 1, 100);
        assert!(coder.applies(Coding::Gzip, 100) && !coder.applies(Coding::Gzip, 99) && coder.applies(Coding::OnlyGzip, 1));
        let mixed: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for body in [&b""[..], b"short", &[b'x'; 100_000], &mixed] {
            let mut read = Vec::new();
            flate2::read::GzDecoder::new(&coder.gzip(body)[..]).read_to_end(&mut read).expect("gzip");
            assert_eq!(read, body);
        }
    }
}
