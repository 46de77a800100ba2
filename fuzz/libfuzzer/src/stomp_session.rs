//! libFuzzer's main for the target `stomp_session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("stomp_session")(data));
