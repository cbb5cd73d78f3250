//! An array of numpy, `.npy` or `.npz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tweedie::fuzzing::array(data));
