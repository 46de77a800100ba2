//! libFuzzer's main for the target `cursor_parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("cursor_parse")(data));
