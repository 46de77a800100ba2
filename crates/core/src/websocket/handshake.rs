//! The opening handshake's own words: the key and its answer, and the choice of a subprotocol. RFC 6455, 4.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest, Sha1};

/// The version of the protocol that RFC 6455 describes, for `Sec-WebSocket-Version`.
pub const VERSION: &str = "13";

/// What is wrong with the key of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFault {
    /// It is not base64, or not of 16 bytes.
    #[error("Sec-WebSocket-Key must be 16 random bytes in base64, which makes 24 characters that end in ==")]
    BadKey,
}

/// Checks a client's `Sec-WebSocket-Key`: "when decoded, is 16 bytes in length" (RFC 6455, 4.2.1).
pub fn validate_key(client_key: &str) -> Result<(), HandshakeFault> {
    let mut nonce = [0; NONCE_BYTES + 2];
    match LENIENT.decode_slice(client_key, &mut nonce) {
        Ok(NONCE_BYTES) => Ok(()),
        _ => Err(HandshakeFault::BadKey),
    }
}

/// The `Sec-WebSocket-Accept` that answers a client's key.
pub fn accept_key(client_key: &str) -> String {
    let digest = Sha1::new().chain_update(client_key).chain_update(GUID).finalize();
    STANDARD.encode(digest)
}

/// A client's `Sec-WebSocket-Key`, of 16 random bytes.
pub fn client_key(nonce: [u8; NONCE_BYTES]) -> String {
    STANDARD.encode(nonce)
}

/// Chooses the first of the client's subprotocols that is supported. Each header value may be a list, in order of preference.
///
/// `None` means that the answer names none, whether the client offered none or none that is known here.
pub fn choose_subprotocol<'a, 's>(offered: impl IntoIterator<Item = &'a str>, supported: &[&'s str]) -> Option<&'s str> {
    let mut names = offered.into_iter().flat_map(|value| value.split(',')).map(|name| name.trim_matches([' ', '\t']));
    names.find_map(|name| supported.iter().find(|&&known| known == name).copied())
}

/// How many bytes a key is made of.
pub const NONCE_BYTES: usize = 16;

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

// Some clients write any 22 characters: the bits past the sixteenth byte mean nothing, so they are not held against them.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 6455, 1.3.
    #[test]
    fn answers_the_key_of_the_rfc() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_sixteen_bytes() {
        for key in ["dGhlIHNhbXBsZSBub25jZQ==", "AAAAAAAAAAAAAAAAAAAAAA==", "abcdefghijklmnopqrstuv==", &client_key([7; 16])] {
            assert_eq!(validate_key(key), Ok(()), "{key}");
        }
        let long = "A".repeat(4096);
        for key in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZQ==", "dGhlIHNhbXBsZSBub25jZSE=", "dGhlIHNhbXBsZSBub25j !==", &long] {
            assert_eq!(validate_key(key), Err(HandshakeFault::BadKey), "{key}");
        }
    }

    #[test]
    fn the_clients_order_chooses_the_subprotocol() {
        let supported = ["bongsu.v1.json", "v12.stomp"];
        for (offered, chosen) in [
            (&["v12.stomp, bongsu.v1.json"][..], Some("v12.stomp")),
            (&["mqtt", "bongsu.v1.json"], Some("bongsu.v1.json")),
            (&["mqtt ,\tv12.stomp"], Some("v12.stomp")),
            (&["mqtt", "V12.STOMP", ""], None),
            (&[], None),
        ] {
            assert_eq!(choose_subprotocol(offered.iter().copied(), &supported), chosen, "{offered:?}");
        }
    }
}
