//! A picture: PNG, JPEG, GIF, WebP, BMP.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tweedie::fuzzing::picture(data));
