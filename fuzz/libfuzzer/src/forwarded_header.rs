//! libFuzzer's main for the target `forwarded_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("forwarded_header")(data));
