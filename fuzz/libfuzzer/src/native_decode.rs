//! libFuzzer's main for the target `native_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("native_decode")(data));
