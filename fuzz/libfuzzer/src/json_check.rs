//! libFuzzer's main for the target `json_check`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("json_check")(data));
