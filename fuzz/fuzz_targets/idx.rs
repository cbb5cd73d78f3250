//! Images, plain or gzip.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = tweedie::data::Dataset::from_idx_bytes(data);
});
