#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| noex_fuzz_harness::names(data));
