//! PyTorch's checkpoints: a pickle and the storages of its tensors, in either of PyTorch's formats.

mod legacy;
mod zipped;

use super::foreign::{FileKind, START, kind_of};
use super::pickle::{Dtype, Node, Pickle, Strided};
use super::{InteropError, archive};
use std::cell::RefCell;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// An open checkpoint. Its objects are read at once, its storages on request.
pub(super) struct TorchFile {
    pickle: Pickle,
    storages: RefCell<Storages>,
}

/// The source of storages, and the storage that was read last: several tensors often share one.
struct Storages {
    format: Format,
    last: Option<(Arc<str>, Vec<u8>)>,
}

enum Format {
    Zipped(zipped::Zipped),
    Legacy(legacy::Legacy),
}

/// The largest accepted pickle, in bytes; a real checkpoint's holds only names and shapes.
const LARGEST_PICKLE: u64 = 32 << 20;

impl TorchFile {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<TorchFile, InteropError> {
        TorchFile::read(BufReader::new(crate::files::open(path)?))
    }

    /// Reads a checkpoint from any source.
    pub fn read(mut source: impl archive::Source + 'static) -> Result<TorchFile, InteropError> {
        let mut start = Vec::new();
        source.by_ref().take(START as u64).read_to_end(&mut start)?;
        source.rewind()?;
        let (pickle, format) = match kind_of(&start) {
            FileKind::Torch if start.starts_with(b"PK") => {
                let (pickle, zipped) = zipped::read(source)?;
                (pickle, Format::Zipped(zipped))
            }
            FileKind::Torch => {
                let (pickle, legacy) = legacy::read(source)?;
                (pickle, Format::Legacy(legacy))
            }
            FileKind::Foreign(foreign) => return Err(InteropError::Foreign(foreign)),
            FileKind::Safetensors => {
                return Err(InteropError::Unknown("it is a safetensors file, not PyTorch's".into()));
            }
            FileKind::Unknown => {
                return Err(InteropError::Unknown("it is not a PyTorch checkpoint (no zip archive)".into()));
            }
        };
        Ok(TorchFile { pickle, storages: RefCell::new(Storages { format, last: None }) })
    }

    /// The saved object.
    pub fn root(&self) -> Node<'_> {
        self.pickle.root()
    }

    /// A tensor's values, in the order of its axes; none if its shape is not the expected one. Only a tensor
    /// of a known shape is unpacked: a small file can describe a huge one.
    pub fn values(&self, tensor: &Strided, expected: &[usize]) -> Result<Option<Vec<f32>>, InteropError> {
        match tensor.shape == expected {
            true => Ok(Some(self.elements(tensor)?.into_iter().map(|value| value as f32).collect())),
            false => Ok(None),
        }
    }

    /// The one number of a tensor.
    pub fn number(&self, tensor: &Strided) -> Result<Option<f64>, InteropError> {
        match tensor.shape.iter().all(|extent| *extent == 1) {
            true => Ok(self.elements(tensor)?.first().copied()),
            false => Ok(None),
        }
    }

    fn elements(&self, tensor: &Strided) -> Result<Vec<f64>, InteropError> {
        let (dtype, size) = (tensor.storage.dtype, tensor.storage.dtype.size());
        let count = tensor.shape.iter().product();
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut storages = self.storages.borrow_mut();
        let bytes = storages.bytes(tensor)?;
        let mut values = Vec::with_capacity(count);
        let mut index = vec![0; tensor.shape.len()];
        for _ in 0..count {
            let at = tensor.offset + index.iter().zip(&tensor.stride).map(|(i, s)| i * s).sum::<usize>();
            values.push(element(dtype, &bytes[at * size..][..size]));
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < tensor.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(values)
    }
}

impl Storages {
    /// The bytes of a tensor's storage.
    fn bytes(&mut self, tensor: &Strided) -> Result<&[u8], InteropError> {
        let storage = &tensor.storage;
        let total = storage.len.checked_mul(storage.dtype.size());
        let total = total.ok_or_else(|| damaged("its pickle names an impossible storage"))? as u64;
        let kept = self.last.take().filter(|(key, bytes)| *key == storage.key && bytes.len() as u64 == total);
        let (key, bytes) = match kept {
            Some(kept) => kept,
            None => {
                let bytes = match &mut self.format {
                    Format::Zipped(zipped) => zipped.bytes(&storage.key, total)?,
                    Format::Legacy(legacy) => legacy.bytes(&storage.key, total)?,
                };
                (storage.key.clone(), bytes)
            }
        };
        Ok(&self.last.insert((key, bytes)).1)
    }
}

fn damaged(what: impl Into<String>) -> InteropError {
    InteropError::Damaged(what.into())
}

/// One little-endian element; 0 for a type that is no real number's.
fn element(dtype: Dtype, bytes: &[u8]) -> f64 {
    let mut word = [0; 16];
    word[..bytes.len()].copy_from_slice(bytes);
    let bits = u128::from_le_bytes(word);
    match dtype {
        Dtype::F64 => f64::from_bits(bits as u64),
        Dtype::F32 => f32::from_bits(bits as u32).into(),
        Dtype::F16 => half::f16::from_bits(bits as u16).into(),
        Dtype::Bf16 => half::bf16::from_bits(bits as u16).into(),
        Dtype::I64 => bits as i64 as f64,
        Dtype::I32 => (bits as i32).into(),
        Dtype::I16 => (bits as i16).into(),
        Dtype::I8 => (bits as i8).into(),
        Dtype::U8 | Dtype::Bool => (bits as u8).into(),
        Dtype::Alien(_) => 0.0,
    }
}

#[cfg(all(test, feature = "torch"))]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    /// An archive in PyTorch's format with [[1, 2, 3], [4, 5, 6]] transposed.
    fn archive(data: &[u8], method: zip::CompressionMethod) -> Vec<u8> {
        archive_of(&[("x/data.pkl", PICKLE), ("x/data/0", data)], method)
    }

    const PICKLE: &[u8] =
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n\
          X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQK\x00K\x03K\x02\x86K\x01K\x03\x86\x89}tR.";

    fn archive_of(entries: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        for (name, bytes) in entries {
            writer.start_file(*name, options).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn an_archive_holds_one_pickle_and_nothing_after_it() {
        let (numbers, stored) = (floats(), zip::CompressionMethod::Stored);
        let longer = [PICKLE, b"more"].concat();
        let refused = |entries: &[(&str, &[u8])]| read(&archive_of(entries, stored)).unwrap_err().to_string();
        let text = refused(&[("x/data.pkl", &longer), ("x/data/0", &numbers)]);
        assert!(text.contains("continues after its pickle by 4 bytes"), "{text}");
        let text = refused(&[("x/data.pkl", PICKLE), ("x/data/0", &numbers), ("other/data.pkl", PICKLE)]);
        assert!(text.contains("two pickles"), "{text}");
    }

    fn floats() -> Vec<u8> {
        (1..=6).flat_map(|v| (v as f32).to_le_bytes()).collect()
    }

    fn read(bytes: &[u8]) -> Result<Vec<f32>, InteropError> {
        let file = TorchFile::read(Cursor::new(bytes.to_vec()))?;
        let tensor = file.root().tensor().ok_or_else(|| damaged("no tensor"))?;
        let values = file.values(tensor, &tensor.shape)?;
        values.ok_or_else(|| damaged("another shape"))
    }

    #[test]
    fn a_strided_tensor_is_read_in_the_order_of_its_axes() {
        for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
            assert_eq!(read(&archive(&floats(), method)).unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        }
    }

    #[test]
    fn a_truncated_archive_and_one_that_claims_too_much_are_refused() {
        let whole = archive(&floats(), zip::CompressionMethod::Stored);
        for len in 0..whole.len() {
            assert!(read(&whole[..len]).is_err(), "{len}");
        }
        // A storage of many zeros in a few kilobytes, where 24 bytes are expected.
        let bomb = archive(&vec![0; 1 << 26], zip::CompressionMethod::Deflated);
        let text = read(&bomb).unwrap_err().to_string();
        assert!(text.contains("not 24"), "{text}");
        // One flipped bit: the archive's checksum detects it.
        let mut changed = whole.clone();
        let place = whole.windows(4).position(|bytes| bytes == 3.0f32.to_le_bytes()).unwrap();
        changed[place] ^= 1;
        assert!(read(&changed).is_err());
        assert!(read(&archive(&floats()[..20], zip::CompressionMethod::Stored)).is_err());
    }

    #[test]
    fn a_file_that_needs_code_to_load_is_refused_with_the_reason() {
        let text = TorchFile::read(Cursor::new(b"\x80\x03}.")).map(drop).unwrap_err().to_string();
        assert!(text.contains("runs code"), "{text}");
        let edm = b"\x80\x03ctorch_utils.persistence\n_reconstruct_persistent_obj\n)R.";
        let text = TorchFile::read(Cursor::new(edm)).map(drop).unwrap_err().to_string();
        assert!(text.contains("EDM's"), "{text}");
    }
}
