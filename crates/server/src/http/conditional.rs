//! Validators: whether the copy that a client holds is still good. Used by polls and by the page's files.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::request::Request;

/// A strong validator: it is made of every byte of the body.
pub fn etag(body: &[u8]) -> String {
    format!("\"{:032x}\"", hash(body))
}

/// The validator of the same body in a content coding, which is another one (RFC 9110, 8.8.3.3).
pub fn etag_coded(body: &[u8], coding: &str) -> String {
    format!("\"{:032x}-{coding}\"", hash(body))
}

fn hash(body: &[u8]) -> u128 {
    let mut hasher = SipHasher24::new();
    hasher.write(body);
    hasher.finish128().as_u128()
}

/// RFC 9110, 13.1.2: weak comparison, and `*` matches anything.
pub fn none_match(request: &Request, etag: &str) -> bool {
    request
        .header_all("if-none-match")
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == etag)
}
