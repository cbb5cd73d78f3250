//! The file of a checkpoint: safetensors whose header holds a checksum of the whole file.
//!
//! The tensors are written one after the other, as they are read off the device, so that no second copy of the
//! model is in host memory. The checksum is then put in the place that was kept for it.

use super::TrainError;
use super::error::file_error;
use crate::files::{atomically, place_of_sum};
use crate::gpu::GpuError;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

/// A tensor to write; its values are computed when it is written.
pub(super) struct Entry<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Box<dyn Fn() -> Result<Cow<'a, [f32]>, GpuError> + 'a>,
}

/// The reason why a file was not written.
pub(super) enum Failure {
    File(io::Error),
    Device(GpuError),
    /// A tensor with numbers that are not finite, by its name.
    NotFinite(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::File(error)
    }
}

impl Failure {
    /// The error of a file, where a number that is not finite is a fault of the file's contents.
    pub(super) fn error(self, path: &Path) -> TrainError {
        match self {
            Failure::File(error) => file_error(path, error),
            Failure::Device(error) => error.into(),
            Failure::NotFinite(name) => TrainError::Checkpoint {
                path: path.display().to_string(),
                what: format!("{name} would hold numbers that are not finite"),
            },
        }
    }
}

/// The name of the header's entry.
const ENTRY: &str = "tweedie";
/// Writes a file atomically. `header` is JSON with [`NO_SUM`](crate::files::NO_SUM) as `crc32`.
pub(super) fn write(path: &Path, header: String, entries: Vec<Entry<'_>>) -> Result<(), Failure> {
    atomically(path, |aside| {
        let mut file = BufWriter::new(std::fs::File::create(aside)?);
        encode(&mut file, header, entries)?;
        Ok(file.flush()?)
    })
}

/// Writes the contents of a file.
pub(super) fn encode(
    out: &mut (impl Write + Seek),
    header: String,
    mut entries: Vec<Entry<'_>>,
) -> Result<(), Failure> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let head = head(header, &entries).map_err(io::Error::other)?;
    let mut sum = crc32fast::Hasher::new();
    let mut put = |out: &mut dyn Write, bytes: &[u8]| {
        sum.update(bytes);
        out.write_all(bytes)
    };
    put(out, &head)?;
    for Entry { name, shape, values } in &entries {
        let values = values().map_err(Failure::Device)?;
        if !values.iter().all(|v| v.is_finite()) {
            return Err(Failure::NotFinite(name.clone()));
        }
        if values.len() != shape.iter().product::<usize>() {
            return Err(Failure::File(io::Error::other(format!("{name} has {} values", values.len()))));
        }
        put(out, bytemuck::cast_slice(&values))?;
    }
    let place =
        place_of_sum(&head).ok_or_else(|| io::Error::other("the header has no place for a checksum"))?;
    out.seek(SeekFrom::Start(place as u64))?;
    out.write_all(format!("{:08x}", sum.finalize()).as_bytes())?;
    Ok(())
}

/// The length and the JSON in front of the tensors, padded to a multiple of 8 bytes.
fn head(header: String, entries: &[Entry<'_>]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut end = 0;
    let infos = entries.iter().map(|entry| {
        let begin = end;
        end += 4 * entry.shape.iter().product::<usize>();
        let info = TensorInfo { dtype: Dtype::F32, shape: entry.shape.clone(), data_offsets: (begin, end) };
        (entry.name.clone(), info)
    });
    // One entry only: a map of several would be written in any order.
    let metadata = Metadata::new(Some(HashMap::from([(ENTRY.to_string(), header)])), infos.collect())?;
    let mut head = serde_json::to_vec(&metadata)?;
    head.resize(head.len().next_multiple_of(8), b' ');
    Ok([&(head.len() as u64).to_le_bytes()[..], &head].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{NO_SUM, is_whole};
    use std::io::Cursor;

    fn file(values: &[f32]) -> Result<Vec<u8>, Failure> {
        let entry = |name: &str, values: Vec<f32>| Entry {
            name: name.into(),
            shape: vec![values.len()],
            values: Box::new(move || Ok(Cow::Owned(values.clone()))),
        };
        let mut out = Cursor::new(Vec::new());
        let header = format!(r#"{{"crc32":"{NO_SUM}","step":7}}"#);
        encode(&mut out, header, vec![entry("b", vec![1.0]), entry("a", values.to_vec())])?;
        Ok(out.into_inner())
    }

    #[test]
    fn a_file_is_safetensors_in_the_order_of_names() {
        let Ok(bytes) = file(&[2.0, 3.0]) else { panic!("not written") };
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("a").unwrap().data(), bytemuck::cast_slice::<f32, u8>(&[2.0, 3.0]));
        assert_eq!(tensors.tensor("b").unwrap().data(), 1f32.to_le_bytes());
        assert_eq!(is_whole(&bytes), Some(true));
    }

    #[test]
    fn every_flipped_bit_shows_in_the_checksum() {
        let Ok(bytes) = file(&[2.0, 3.0]) else { panic!("not written") };
        for i in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i / 8] ^= 1 << (i % 8);
            assert_ne!(is_whole(&damaged), Some(true), "bit {i}");
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_not_written() {
        assert!(matches!(file(&[f32::NAN]), Err(Failure::NotFinite(name)) if name == "a"));
    }
}
