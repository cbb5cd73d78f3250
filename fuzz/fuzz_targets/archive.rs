//! A PyTorch checkpoint.
#![no_main]

use std::io::Cursor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = tweedie::interop::read_score_sde_from(Cursor::new(data.to_vec()), tweedie_fuzz::registry());
});
