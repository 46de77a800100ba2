//! libFuzzer's main for the target `publish_line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("publish_line")(data));
