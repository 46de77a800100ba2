//! libFuzzer's main for the target `config_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("config_file")(data));
