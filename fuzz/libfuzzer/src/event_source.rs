//! libFuzzer's main for the target `event_source`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("event_source")(data));
