//! PyTorch's checkpoints: a zip archive with a pickle and one file per storage.

use super::InteropError;
use super::archive::{self, Archive};
use super::pickle::{Dtype, Node, Pickle, Strided};
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

/// An open checkpoint. Its objects are read at once, its storages on request.
pub(super) struct TorchFile {
    archive: RefCell<Box<dyn Archive>>,
    /// The folder in the archive with all entries.
    folder: String,
    pickle: Pickle,
}

/// The largest accepted pickle, in bytes; a real checkpoint's holds only names and shapes.
const LARGEST_PICKLE: u64 = 32 << 20;

impl TorchFile {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<TorchFile, InteropError> {
        TorchFile::read(BufReader::new(File::open(path)?))
    }

    /// Reads an archive.
    pub fn read(mut source: impl Read + Seek + 'static) -> Result<TorchFile, InteropError> {
        let mut start = [0; 2];
        source.read_exact(&mut start).map_err(|_| damaged("it is empty"))?;
        source.rewind()?;
        if start != *b"PK" {
            return Err(InteropError::Unknown(match start[0] {
                0x80 => "it is a bare pickle, as EDM's files and PyTorch's before 1.6 are: loading it means running \
                         code, which this program never does; save the weights again with PyTorch 1.6 or later, \
                         as tensors"
                    .into(),
                _ => "it is not a PyTorch checkpoint (not a zip archive)".into(),
            }));
        }
        let mut archive = archive::open(source)?;
        let name = archive.names().into_iter().find(|name| name.ends_with("/data.pkl"));
        let name = name.ok_or_else(|| InteropError::Unknown("its archive holds no data.pkl".into()))?;
        let folder = name.trim_end_matches("data.pkl").to_string();
        let (size, _) = archive.entry(&name).map_err(damaged)?;
        if size > LARGEST_PICKLE {
            return Err(damaged(format!("its pickle claims {size} bytes")));
        }
        let bytes = entry(&mut *archive, &name, size as usize)?;
        let order = entry(&mut *archive, &format!("{folder}byteorder"), 16).unwrap_or_default();
        if order == b"big" {
            return Err(InteropError::Unknown("it was written on a big-endian machine".into()));
        }
        let pickle = Pickle::read(&bytes)?;
        Ok(TorchFile { archive: RefCell::new(archive), folder, pickle })
    }

    /// The saved object.
    pub fn root(&self) -> Node<'_> {
        self.pickle.root()
    }

    /// A tensor's values, in the order of its axes.
    pub fn values(&self, tensor: &Strided) -> Result<Vec<f32>, InteropError> {
        let storage = &tensor.storage;
        let (size, count, span) = (storage.dtype.size(), tensor.len(), tensor.span());
        if count == 0 {
            return Ok(Vec::new());
        }
        let name = format!("{}data/{}", self.folder, storage.key);
        // A few kilobytes of archive can unpack to gigabytes of zeros, so a tensor must fill at least a
        // quarter of its span.
        if span > count.saturating_mul(4) {
            return Err(damaged(format!("{name} has {count} numbers of a tensor among {span}")));
        }
        let total = storage.len.checked_mul(size).ok_or_else(|| damaged("an impossible storage size"))?;
        let part = [tensor.offset * size, span * size];
        let bytes = part_of(&mut **self.archive.borrow_mut(), &name, total as u64, part)?;
        let mut values = Vec::with_capacity(count);
        let mut index = vec![0; tensor.shape.len()];
        for _ in 0..count {
            let at = index.iter().zip(&tensor.stride).map(|(i, s)| i * s).sum::<usize>();
            values.push(element(storage.dtype, &bytes[at * size..][..size]));
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

/// An entry's bytes. More than `most` are refused, so that a hostile archive cannot exhaust memory.
fn entry(archive: &mut dyn Archive, name: &str, most: usize) -> Result<Vec<u8>, InteropError> {
    let (size, _) = archive.entry(name).map_err(|e| damaged(format!("{name}: {e}")))?;
    if size > most as u64 {
        return Err(damaged(format!("{name} has {size} bytes, more than {most}")));
    }
    part_of(archive, name, size, [0, size as usize])
}

/// `len` bytes of an entry from byte `from` on; the entry must have `total` bytes.
fn part_of(
    archive: &mut dyn Archive,
    name: &str,
    total: u64,
    [from, len]: [usize; 2],
) -> Result<Vec<u8>, InteropError> {
    let wrong = |e: &dyn std::fmt::Display| damaged(format!("{name}: {e}"));
    let (size, mut entry) = archive.entry(name).map_err(|e| wrong(&e))?;
    if size != total {
        return Err(damaged(format!("{name} has {size} bytes, not {total}")));
    }
    let mut bytes = Vec::new();
    let skip = |entry: &mut dyn Read, len: u64| std::io::copy(&mut entry.take(len), &mut std::io::sink());
    let read = skip(&mut entry, from as u64).and_then(|skipped| {
        let read = skipped + entry.by_ref().take(len as u64).read_to_end(&mut bytes)? as u64;
        // Read beyond the end: only there is the checksum verified.
        Ok(read + skip(&mut entry, total.saturating_sub(read) + 1)?)
    });
    match read.map_err(|e| wrong(&e))? == total && bytes.len() == len {
        true => Ok(bytes),
        false => Err(damaged(format!("{name} has other than {total} bytes"))),
    }
}

fn damaged(what: impl Into<String>) -> InteropError {
    InteropError::Damaged(what.into())
}

/// One little-endian element as f32.
fn element(dtype: Dtype, bytes: &[u8]) -> f32 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let low = |word: [u8; 8]| [word[0], word[1]];
    let half = |word: [u8; 8]| [word[0], word[1], word[2], word[3]];
    match dtype {
        Dtype::F64 => f64::from_le_bytes(word) as f32,
        Dtype::F32 => f32::from_le_bytes(half(word)),
        Dtype::F16 => half::f16::from_le_bytes(low(word)).to_f32(),
        Dtype::Bf16 => half::bf16::from_le_bytes(low(word)).to_f32(),
        Dtype::I64 => i64::from_le_bytes(word) as f32,
        Dtype::I32 => i32::from_le_bytes(half(word)) as f32,
        Dtype::I16 => f32::from(i16::from_le_bytes(low(word))),
        Dtype::I8 => f32::from(word[0] as i8),
        Dtype::U8 | Dtype::Bool => f32::from(word[0]),
    }
}

#[cfg(all(test, feature = "torch"))]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    /// An archive in PyTorch's format with [[1, 2, 3], [4, 5, 6]] transposed.
    fn archive(data: &[u8], method: zip::CompressionMethod) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        writer.start_file("x/data.pkl", options).unwrap();
        writer
            .write_all(
                b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n\
                  X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQK\x00K\x03K\x02\x86K\x01K\x03\x86\x89}tR.",
            )
            .unwrap();
        writer.start_file("x/data/0", options).unwrap();
        writer.write_all(data).unwrap();
        writer.finish().unwrap().into_inner()
    }

    fn floats() -> Vec<u8> {
        (1..=6).flat_map(|v| (v as f32).to_le_bytes()).collect()
    }

    fn read(bytes: &[u8]) -> Result<Vec<f32>, InteropError> {
        let file = TorchFile::read(Cursor::new(bytes.to_vec()))?;
        let tensor = file.root().tensor().ok_or_else(|| damaged("no tensor"))?;
        file.values(tensor)
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
        assert!(text.contains("running code"), "{text}");
    }
}
