//! Validators: whether the copy that a client holds is still good. Used by polls and by the page's files.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::request::Request;

/// A strong validator: it is made of every byte of the body.
pub fn etag(body: &[u8]) -> String {
    let mut hasher = SipHasher24::new();
    hasher.write(body);
    format!("\"{:032x}\"", hasher.finish128().as_u128())
}

/// A strong validator of what need not be written to be known: it is made of all that decides on the bytes.
#[derive(Debug)]
pub struct Validator(SipHasher24);

impl Validator {
    /// One that was told nothing yet, but which release writes the bytes.
    pub fn new() -> Self {
        let mut validator = Self(SipHasher24::new());
        validator.tell(env!("CARGO_PKG_VERSION").as_bytes());
        validator
    }

    /// Takes a part into account.
    pub fn tell(&mut self, part: &[u8]) {
        self.0.write_usize(part.len());
        self.0.write(part);
    }

    /// The validator; in a content coding it is another one (RFC 9110, 8.8.3.3).
    pub fn etag(&self, coding: Option<&str>) -> String {
        let hash = self.0.finish128().as_u128();
        match coding {
            Some(coding) => format!("\"{hash:032x}-{coding}\""),
            None => format!("\"{hash:032x}\""),
        }
    }
}

impl Default for Validator {
    fn default() -> Self {
        Self::new()
    }
}

/// RFC 9110, 13.1.2: weak comparison, and `*` matches anything.
pub fn none_match(request: &Request, etag: &str) -> bool {
    request.header_items("if-none-match").map(|tag| tag.trim_start_matches("W/")).any(|tag| tag == "*" || tag == etag)
}
