//! libFuzzer's main for the target `composite_cursor`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("composite_cursor")(data));
