//! PyTorch's format since 1.6: a zip archive with a pickle and one file per storage.

use super::{LARGEST_PICKLE, damaged};
use crate::interop::archive::{self, Archive, Entry, Source};
use crate::interop::pickle::Pickle;
use crate::interop::{InteropError, foreign};
use std::io::{Read, SeekFrom};

/// The storages of an open archive.
pub(super) struct Zipped {
    archive: Box<dyn Archive>,
    /// The folder in the archive with all entries.
    folder: String,
    /// The file's length in bytes.
    len: u64,
}

/// The largest ratio of an entry's size to its packed size; PyTorch does not pack at all, and weights hardly shrink.
const RATIO: u64 = 64;
/// A size that is small enough for any ratio.
const SMALL: u64 = 1 << 20;

/// Reads an archive.
pub(super) fn read(mut source: impl Source + 'static) -> Result<(Pickle, Zipped), InteropError> {
    let len = source.seek(SeekFrom::End(0))?;
    source.rewind()?;
    let mut archive = archive::open(source)?;
    let names = archive.names();
    let pickles: Vec<&String> =
        names.iter().filter(|name| *name == "data.pkl" || name.ends_with("/data.pkl")).collect();
    let name = match pickles[..] {
        [] => return Err(InteropError::Foreign(foreign::archive(&names))),
        [only] => only,
        [first, second, ..] => return Err(damaged(format!("it holds two pickles, {first} and {second}"))),
    };
    let folder = name.trim_end_matches("data.pkl").to_string();
    if names.iter().any(|entry| entry.strip_prefix(&folder[..]) == Some("constants.pkl")) {
        return Err(InteropError::Foreign(foreign::Foreign::Module));
    }
    let bytes = whole(&mut *archive, name, LARGEST_PICKLE, len)?;
    if whole(&mut *archive, &format!("{folder}byteorder"), 16, len).is_ok_and(|order| order == b"big") {
        return Err(InteropError::Unknown("it was written on a big-endian machine".into()));
    }
    let pickle = Pickle::read(&bytes)?;
    if pickle.len() < bytes.len() {
        return Err(damaged(format!(
            "{name} continues after its pickle by {} bytes",
            bytes.len() - pickle.len()
        )));
    }
    Ok((pickle, Zipped { archive, folder, len }))
}

impl Zipped {
    /// A storage's bytes, `total` of them.
    pub fn bytes(&mut self, key: &str, total: u64) -> Result<Vec<u8>, InteropError> {
        let name = format!("{}data/{key}", self.folder);
        let entry = self.archive.entry(&name).map_err(|e| damaged(format!("{name}: {e}")))?;
        if entry.size != total {
            return Err(damaged(format!("{name} has {} bytes, not {total}", entry.size)));
        }
        contents(entry, &name, self.len)
    }
}

/// An entry's bytes, `most` of them at most.
fn whole(archive: &mut dyn Archive, name: &str, most: u64, len: u64) -> Result<Vec<u8>, InteropError> {
    let entry = archive.entry(name).map_err(|e| damaged(format!("{name}: {e}")))?;
    if entry.size > most {
        return Err(damaged(format!("{name} claims {} bytes, more than {most}", entry.size)));
    }
    contents(entry, name, len)
}

/// An entry's bytes. Whatever an archive of `len` bytes claims, the entry takes no more than so many times that.
fn contents(entry: Entry<'_>, name: &str, len: u64) -> Result<Vec<u8>, InteropError> {
    let Entry { size, packed, mut bytes } = entry;
    let packed = packed.min(len);
    if size > SMALL && size / RATIO > packed {
        return Err(damaged(format!("{name} unpacks from {packed} to {size} bytes, as no weights do")));
    }
    let mut whole = Vec::new();
    // One byte beyond the end: only there is the checksum verified.
    bytes.by_ref().take(size + 1).read_to_end(&mut whole).map_err(|e| damaged(format!("{name}: {e}")))?;
    match whole.len() as u64 == size {
        true => Ok(whole),
        false => Err(damaged(format!("{name} has other than {size} bytes"))),
    }
}
