#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mailmend_fuzz::tracking_log(bytes));
