#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gadwall_fuzz::the_things_stack(input));
