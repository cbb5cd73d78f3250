//! Answers of the hub, with a line of three dashes between them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tweedie::fuzzing::hub(data));
