//! libFuzzer's main for the target `multipart_parts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("multipart_parts")(data));
