//! IDX files (LeCun), plain or gzip: unsigned bytes in one to four axes.

use super::DataError;
use crate::memory;
use std::io::Read;
use std::path::Path;

/// An array of bytes.
pub(super) struct Idx {
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// Reads a file.
pub(super) fn read_file(path: &Path) -> Result<Idx, DataError> {
    let name = path.display().to_string();
    if path.is_dir() {
        let what =
            format!("{name} is a folder; data.images and data.labels take IDX files, data.path also folders");
        return Err(DataError::Mismatch(what));
    }
    let unreadable = |reason: String| DataError::Read { path: name.clone(), reason };
    let file = crate::files::open(path).map_err(|e| unreadable(e.to_string()))?;
    read(std::io::BufReader::new(file), &name)
}

/// Reads an IDX array from `source`; error messages call it `name`.
pub(super) fn read(mut source: impl Read, name: &str) -> Result<Idx, DataError> {
    let wrong = |what: String| DataError::Format { path: name.to_string(), what };
    let mut start = Vec::new();
    let failed = |e: std::io::Error| wrong(format!("it is truncated or damaged ({e})"));
    source.by_ref().take(2).read_to_end(&mut start).map_err(failed)?;
    let gzip = start == [0x1f, 0x8b];
    let whole = std::io::Cursor::new(start).chain(source);
    let mut plain: Box<dyn Read + '_> =
        if gzip { Box::new(flate2::read::MultiGzDecoder::new(whole)) } else { Box::new(whole) };

    // gzip allows several members one after the other (RFC 1952), and nothing else.
    let mut read = |bytes: u64| {
        let mut buffer = Vec::new();
        plain.by_ref().take(bytes).read_to_end(&mut buffer).map(|_| buffer).map_err(failed)
    };
    let magic = read(4)?;
    let [0, 0, 8, axes @ 1..=4] = magic[..] else {
        return Err(wrong("it is not an IDX file of unsigned bytes".into()));
    };
    let sizes = read(4 * u64::from(axes))?;
    let shape: Vec<usize> =
        sizes.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize).collect();
    if shape.len() < usize::from(axes) {
        return Err(wrong("it ends inside its header".into()));
    }
    let expected = shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size as u64));
    let expected = expected.filter(|len| memory::fits(*len)).ok_or_else(|| {
        wrong(format!("it claims to hold {shape:?} values, more than this machine has memory for"))
    })?;
    let bytes = read(expected)?;
    if (bytes.len() as u64) < expected {
        return Err(wrong(format!(
            "it is truncated: it holds {} of the {expected} values that its header states",
            bytes.len()
        )));
    }
    if !read(1)?.is_empty() {
        return Err(wrong(format!("it continues after the {expected} values that its header states")));
    }
    Ok(Idx { shape, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(shape: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn refused(bytes: &[u8]) -> String {
        read(bytes, "f").map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn plain_and_gzip_files_read_alike() {
        let plain = file(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        for bytes in [plain.clone(), gzip(&plain)] {
            let idx = read(&bytes[..], "f").unwrap();
            assert_eq!(idx.shape, [2, 1, 3]);
            assert_eq!(idx.bytes, [1, 2, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn every_member_of_a_gzip_file_is_read_and_nothing_after_them_is_left() {
        let plain = file(&[2, 2], &[1, 2, 3, 4]);
        let members = [gzip(&plain[..13]), gzip(&plain[13..])].concat();
        assert_eq!(read(&members[..], "f").unwrap().bytes, [1, 2, 3, 4]);
        assert!(refused(&[gzip(&plain), gzip(&[5])].concat()).contains("continues after"));
        assert!(refused(&[gzip(&plain), b"rest".to_vec()].concat()).contains("damaged"));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let plain = file(&[2, 2], &[1, 2, 3, 4]);
        for bytes in [plain.clone(), gzip(&plain)] {
            for length in 0..bytes.len() {
                // A cut inside gzip's trailer loses no value.
                let whole = read(&bytes[..length], "f").is_ok_and(|idx| idx.bytes == [1, 2, 3, 4]);
                assert!(!whole || bytes.len() - length <= 8 && bytes[0] == 0x1f, "cut at {length}");
            }
        }
        assert!(refused(&plain[..plain.len() - 1]).contains("holds 3 of the 4 values"));
    }

    #[test]
    fn other_files_than_idx_are_refused() {
        assert!(refused(b"PNG").contains("not an IDX file"));
        assert!(refused(&[0, 0, 13, 1, 0, 0, 0, 0]).contains("not an IDX file of unsigned bytes"));
        assert!(refused(&file(&[1], &[1, 2])).contains("continues after"));
        assert!(refused(&file(&[u32::MAX, u32::MAX, u32::MAX], &[])).contains("claims"));
    }
}
