//! libFuzzer's main for the target `start_query`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("start_query")(data));
