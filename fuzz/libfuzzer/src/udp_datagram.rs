//! libFuzzer's main for the target `udp_datagram`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bongsu_fuzz_targets::target("udp_datagram")(data));
