//! Zip archives, read with the feature `torch`.

use super::InteropError;
use std::io::{Read, Seek};

/// A file or bytes that an archive is read from.
pub(super) trait Source: Read + Seek {}

impl<R: Read + Seek> Source for R {}

/// An open archive.
pub(super) trait Archive {
    /// The names of its entries.
    fn names(&self) -> Vec<String>;

    /// An entry. The error is the archive's own message.
    fn entry<'a>(&'a mut self, name: &str) -> Result<Entry<'a>, String>;
}

/// A file in an archive.
pub(super) struct Entry<'a> {
    /// Its length in bytes, and in the archive, as the archive claims.
    pub size: u64,
    pub packed: u64,
    pub bytes: Box<dyn Read + 'a>,
}

#[cfg(feature = "torch")]
impl<R: Source> Archive for zip::ZipArchive<R> {
    fn names(&self) -> Vec<String> {
        self.file_names().flatten().map(|name| name.into_owned()).collect()
    }

    fn entry<'a>(&'a mut self, name: &str) -> Result<Entry<'a>, String> {
        let entry = self.by_name(name).map_err(|e| e.to_string())?;
        Ok(Entry { size: entry.size(), packed: entry.compressed_size(), bytes: Box::new(entry) })
    }
}

/// Opens an archive, which must be all of its file.
#[cfg(feature = "torch")]
pub(super) fn open(mut source: impl Source + 'static) -> Result<Box<dyn Archive>, InteropError> {
    let damaged = |e: String| InteropError::Damaged(format!("its archive: {e}"));
    let archive = zip::ZipArchive::new(&mut source).map_err(|e| damaged(e.to_string()))?;
    let (begins, comment, entries) = (archive.offset(), archive.comment().len(), archive.len());
    match crate::files::archive_fault(&mut source, begins, comment, entries) {
        Ok(None) => {}
        Ok(Some(fault)) => return Err(damaged(fault.into())),
        Err(e) => return Err(damaged(e.to_string())),
    }
    let archive = zip::ZipArchive::new(source).map_err(|e| damaged(e.to_string()))?;
    Ok(Box::new(archive))
}

/// Refuses every archive: this build does not read them.
#[cfg(not(feature = "torch"))]
pub(super) fn open(_: impl Source + 'static) -> Result<Box<dyn Archive>, InteropError> {
    let why = "PyTorch checkpoints are read with the crate's feature `torch`, which this build leaves out";
    Err(InteropError::Unknown(why.into()))
}
