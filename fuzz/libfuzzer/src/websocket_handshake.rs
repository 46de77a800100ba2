//! libFuzzer's main for the target `websocket_handshake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("websocket_handshake")(data));
