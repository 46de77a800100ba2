//! What a proxy in front says of its clients: a header before the connection, and a header in each request.

use std::net::IpAddr;

use bongsu_core::proxy::forwarded::ForwardedHeader;
use bongsu_core::proxy::{HEADER_BYTES_MAX, Preamble, preamble};

/// However the bytes come, the same header is found, or the same fault; none of the client's own bytes is taken.
pub(crate) fn proxy_preamble(data: &[u8]) {
    let whole = preamble(data);
    if let Ok(Preamble::Header { len, .. }) = whole {
        assert!(len <= data.len() && len <= HEADER_BYTES_MAX);
        assert_eq!(preamble(&data[..len]), whole, "what follows it changes nothing");
    }
    for cut in 0..data.len() {
        match preamble(&data[..cut]) {
            Ok(Preamble::More(least)) => {
                assert!(least > cut && least <= HEADER_BYTES_MAX);
                if let Ok(Preamble::Header { len, .. }) = whole {
                    assert!(least <= len, "it asks for the client's bytes");
                }
            }
            decided => {
                assert_eq!(decided, whole, "decided at {cut}, and otherwise in the end");
                return;
            }
        }
    }
}

/// The first byte chooses the header and how many lines it comes in. What a client writes ahead of its proxy's own words decides
/// nothing: it is passed over, or the request refused.
pub(crate) fn forwarded_header(data: &[u8]) {
    let Some((setting, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (header, own) = match setting % 2 {
        0 => (ForwardedHeader::XForwardedFor, "203.0.113.7"),
        _ => (ForwardedHeader::Forwarded, "for=203.0.113.7"),
    };
    let is_trusted = |address: IpAddr| address == IpAddr::from([10, 0, 0, 1]);
    if let Ok(Some(client)) = header.client(text.lines(), is_trusted) {
        assert!(!is_trusted(client));
    }
    let client = IpAddr::from([203, 0, 113, 7]);
    let joined = format!("{}, {own}", text.replace(['\r', '\n'], " "));
    let found = header.client([joined.as_str()], is_trusted);
    assert!(found.is_err() || found == Ok(Some(client)), "{found:?}");
    assert_eq!(header.client(text.lines().chain([own]), is_trusted), Ok(Some(client)));
}
