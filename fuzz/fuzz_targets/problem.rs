//! An inverse problem, as TOML.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &str| tweedie::fuzzing::problem(data));
