#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fam_build::fuzz_targets::qcow2_reader(bytes));
