#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign::hostile::passed_create(data));
