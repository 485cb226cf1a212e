#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gadwall_fuzz::port(input));
