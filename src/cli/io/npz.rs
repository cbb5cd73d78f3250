//! Archives of numpy's arrays, written.

use super::paths::written;
use npyz::{AutoSerialize, WriterBuilder};
use std::io::Cursor;
use std::path::Path;

/// An archive in memory.
pub struct Npz(zip::ZipWriter<Cursor<Vec<u8>>>);

impl Npz {
    /// An empty archive.
    pub fn new() -> Npz {
        Npz(zip::ZipWriter::new(Cursor::new(Vec::new())))
    }

    /// Adds an array.
    pub fn add<T: AutoSerialize + Copy>(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[T],
    ) -> anyhow::Result<()> {
        // Without a time stamp the same arrays are the same bytes.
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default())
            .large_file(size_of_val(values) as u64 >= u64::from(u32::MAX) / 2);
        self.0.start_file(format!("{name}.npy"), options)?;
        let shape: Vec<u64> = shape.iter().map(|extent| *extent as u64).collect();
        let mut array =
            npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut self.0).begin_nd()?;
        array.extend(values.iter().copied())?;
        Ok(array.finish()?)
    }

    /// Writes the archive atomically.
    pub fn write(self, path: &Path) -> anyhow::Result<()> {
        written(path, self.0.finish()?.get_ref())
    }
}
