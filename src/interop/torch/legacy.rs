//! PyTorch's format before 1.6: five pickles (a magic number, the version, the system, the object, the keys of
//! its storages), then each storage as the number of its elements and their bytes.

use super::{LARGEST_PICKLE, damaged};
use crate::interop::archive::Source;
use crate::interop::pickle::{Object, Pickle, Storage};
use crate::interop::{InteropError, foreign};
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

/// The number that such a file begins with.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const VERSION: i128 = 1001;
/// A file of fewer bytes ends before it is known to be another pickle.
const SHORT: usize = 16;

/// The storages of an open file.
pub(super) struct Legacy {
    source: Box<dyn Source>,
    /// The place and the number of the bytes of each.
    places: HashMap<Arc<str>, (u64, u64)>,
}

/// Reads such a file, or refuses another pickle.
pub(super) fn read(mut source: impl Source + 'static) -> Result<(Pickle, Legacy), InteropError> {
    let mut head = Vec::new();
    source.by_ref().take(LARGEST_PICKLE).read_to_end(&mut head)?;
    let mut at = 0;
    let mut next = || -> Result<Pickle, InteropError> {
        let pickle = Pickle::read(&head[at..])?;
        at += pickle.len();
        Ok(pickle)
    };
    match next() {
        Ok(first) if first.root().int() == Some(MAGIC) => {}
        Err(error) if head.len() < SHORT => return Err(error),
        _ => return Err(InteropError::Foreign(foreign::pickle(&head))),
    }
    let version = next()?;
    if version.root().int() != Some(VERSION) {
        return Err(damaged(format!("its format before PyTorch 1.6 is not {VERSION}, the only one")));
    }
    if let Some(Object::Bool(false)) = next()?.root().get("little_endian").map(|node| node.object()) {
        return Err(InteropError::Unknown("it was written on a big-endian machine".into()));
    }
    let (saved, keys) = (next()?, next()?);
    let places = places(&mut source, &saved, &keys, at as u64)?;
    Ok((saved, Legacy { source: Box::new(source), places }))
}

/// The places of the storages, which begin at a byte of the file and end with it.
fn places(
    source: &mut impl Source,
    saved: &Pickle,
    keys: &Pickle,
    mut at: u64,
) -> Result<HashMap<Arc<str>, (u64, u64)>, InteropError> {
    let end = source.seek(SeekFrom::End(0))?;
    let known: HashMap<&str, &Storage> = saved.storages().map(|storage| (&*storage.key, storage)).collect();
    let mut places = HashMap::new();
    for key in keys.root().items() {
        let storage = key.text().and_then(|key| known.get(key));
        let storage = storage.ok_or_else(|| damaged("it lists a storage that nothing refers to"))?;
        let wrong = || damaged(format!("its storage {} ends beyond the file", storage.key));
        let mut count = [0; 8];
        source.seek(SeekFrom::Start(at))?;
        source.read_exact(&mut count).map_err(|_| wrong())?;
        let count = u64::from_le_bytes(count);
        if count != storage.len as u64 {
            let text = format!("its storage {} has {count} numbers, not {}", storage.key, storage.len);
            return Err(damaged(text));
        }
        let len = count.checked_mul(storage.dtype.size() as u64).ok_or_else(wrong)?;
        let begin = at + 8;
        at = begin.checked_add(len).filter(|at| *at <= end).ok_or_else(wrong)?;
        places.insert(storage.key.clone(), (begin, len));
    }
    match at == end {
        true => Ok(places),
        false => Err(damaged(format!("{} bytes follow its last storage", end - at))),
    }
}

impl Legacy {
    /// A storage's bytes, `total` of them.
    pub fn bytes(&mut self, key: &str, total: u64) -> Result<Vec<u8>, InteropError> {
        let place = self.places.get(key).filter(|(_, len)| *len == total);
        let (begin, len) =
            place.ok_or_else(|| damaged(format!("it holds no storage {key} of {total} bytes")))?;
        let mut bytes = Vec::new();
        self.source.seek(SeekFrom::Start(*begin))?;
        self.source.by_ref().take(*len).read_to_end(&mut bytes)?;
        match bytes.len() as u64 == *len {
            true => Ok(bytes),
            false => Err(damaged(format!("its storage {key} is cut"))),
        }
    }
}
