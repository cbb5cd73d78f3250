//! The rows of `metrics.csv`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &str| tweedie::fuzzing::metrics(data));
