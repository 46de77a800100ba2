//! libFuzzer's main for the target `channel_pattern`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("channel_pattern")(data));
