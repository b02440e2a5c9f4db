#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| { lograft_storage::fuzzing::meta(bytes); });
