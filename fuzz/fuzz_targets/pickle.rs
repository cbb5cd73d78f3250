//! The pickle of a PyTorch checkpoint, packed here so that the archive's checksums are valid.
#![no_main]

use std::io::{Cursor, Write};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [("x/data.pkl", data), ("x/data/0", &[0; 64])] {
        zip.start_file(name, stored).expect("an entry");
        zip.write_all(bytes).expect("bytes");
    }
    let archive = zip.finish().expect("an archive").into_inner();
    let _ = tweedie::interop::read_score_sde_from(Cursor::new(archive), tweedie_fuzz::registry());
});
