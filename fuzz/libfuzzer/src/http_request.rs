//! libFuzzer's main for the target `http_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("http_request")(data));
