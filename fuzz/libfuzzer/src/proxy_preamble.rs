//! libFuzzer's main for the target `proxy_preamble`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("proxy_preamble")(data));
