//! A checkpoint of this program, or weights by name.
#![no_main]

use std::path::Path;
use tweedie::train::Checkpoint;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = tweedie::interop::read_safetensors_bytes(data, tweedie_fuzz::registry());
    if let Ok(checkpoint) = Checkpoint::from_bytes(Path::new("x"), data.to_vec()) {
        let _ = checkpoint.state();
    }
});
