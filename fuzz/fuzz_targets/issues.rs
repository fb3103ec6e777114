#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harmony_fuzz::read("issues", bytes));
