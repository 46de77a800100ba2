//! libFuzzer's main for the target `snapshot_read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("snapshot_read")(data));
