//! The words of the WebSocket handshake: whatever the headers say, what is agreed is something that was offered and that we can do.

use bongsu_core::websocket::deflate::{DeflateConfig, WINDOW_BITS_MAX, WINDOW_BITS_MIN, negotiate, read_answer};
use bongsu_core::websocket::handshake::{accept_key, choose_subprotocol, validate_key};

/// The lines are the values of several headers of one name; each reader takes them as its own.
pub(crate) fn websocket_handshake(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for window_bits_max in [9, 12, 15] {
        for context_takeover in [false, true] {
            check_agreement(text, &DeflateConfig { context_takeover, window_bits_max, ..DeflateConfig::default() });
        }
    }
    if let Some(chosen) = choose_subprotocol(text.lines(), &["bongsu.v1.json", "v12.stomp"]) {
        assert!(text.contains(chosen));
    }
    for key in text.lines() {
        assert!(validate_key(key).is_err() || key.len() == 24);
        assert_eq!(accept_key(key).len(), 28);
    }
}

fn check_agreement(text: &str, config: &DeflateConfig) {
    if let Ok(Some(agreed)) = read_answer(text.lines(), config) {
        assert!(config.context_takeover || agreed.server_no_context_takeover);
    }
    let Some(agreed) = negotiate(text.lines(), config) else { return };
    assert!(config.context_takeover || (agreed.server_no_context_takeover && agreed.client_no_context_takeover));
    let server_window = agreed.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX);
    assert!((WINDOW_BITS_MIN..=config.window_bits_max).contains(&server_window));
    assert!(agreed.client_max_window_bits.is_none_or(|bits| (8..=config.window_bits_max).contains(&bits)));
    // What was agreed, offered again, is agreed again.
    assert_eq!(negotiate([agreed.answer().as_str()], config), Some(agreed));
}
