//! A file that is still arriving: `blobs/ETAG.incomplete`, which an interrupted download leaves for the next.

use super::Fault;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The bytes of a file that have arrived.
pub struct Partial {
    file: File,
    path: PathBuf,
    blob: PathBuf,
    /// The SHA-256 of the whole file, if the tag is one, and that of the bytes that are there.
    sum: Option<(String, Sha256)>,
    size: u64,
    have: u64,
}

/// The state of a file in the cache.
pub enum Begun {
    /// All.
    Whole,
    /// Something, perhaps nothing.
    Part(Box<Partial>),
    /// Another process is at it.
    Busy,
}

impl Partial {
    /// Opens the file of the bytes of `blob`, named `etag` and `size` bytes long, and keeps other processes out.
    pub fn open(blob: &Path, etag: &str, size: u64) -> io::Result<Begun> {
        let path = blob.with_file_name(format!("{etag}.incomplete"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        // The lock ends with the process. A system without locks does without.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Ok(Begun::Busy);
        }
        // It is looked for under the lock: another process may just have completed, that is renamed, this file.
        if blob.metadata().is_ok_and(|blob| blob.is_file() && blob.len() == size) {
            let _ = std::fs::remove_file(&path);
            return Ok(Begun::Whole);
        }
        let sum = is_sha256(etag).then(|| (etag.to_ascii_lowercase(), Sha256::new()));
        let mut partial = Partial { file, path, blob: blob.to_path_buf(), sum, size, have: 0 };
        let kept = partial.file.metadata()?.len();
        // Without a checksum, only the end of the transfer says that a file is whole.
        if kept > size || (kept == size && partial.sum.is_none()) {
            partial.restart()?;
        } else {
            partial.take_up(kept)?;
        }
        Ok(Begun::Part(Box::new(partial)))
    }

    /// Counts the bytes that are already there.
    fn take_up(&mut self, kept: u64) -> io::Result<()> {
        if let Some((_, sum)) = &mut self.sum {
            let mut left = (&self.file).take(kept);
            let mut buffer = vec![0; BUFFER];
            loop {
                match left.read(&mut buffer)? {
                    0 => break,
                    n => sum.update(&buffer[..n]),
                }
            }
        }
        self.have = self.file.seek(SeekFrom::Start(kept))?;
        Ok(())
    }

    /// The number of bytes that have arrived.
    pub fn have(&self) -> u64 {
        self.have
    }

    /// Begins anew.
    pub fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.have = self.file.seek(SeekFrom::Start(0))?;
        if let Some((_, sum)) = &mut self.sum {
            *sum = Sha256::new();
        }
        Ok(())
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.have += bytes.len() as u64;
        if let Some((_, sum)) = &mut self.sum {
            sum.update(bytes);
        }
        Ok(())
    }

    /// Makes the whole file the blob.
    pub fn finish(mut self) -> io::Result<Result<(), Fault>> {
        if self.have != self.size {
            return Ok(Err(Fault::Short { have: self.have, size: self.size }));
        }
        if let Some((named, sum)) = self.sum.take() {
            let sum: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            if sum != named {
                self.restart()?;
                return Ok(Err(Fault::Checksum));
            }
        }
        self.file.sync_all()?;
        std::fs::rename(&self.path, &self.blob).map(Ok)
    }
}

impl Drop for Partial {
    /// Keeps the bytes that have arrived for the next download, and removes an empty file.
    fn drop(&mut self) {
        if self.have == 0 {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Returns true if a tag is the SHA-256 of its file; that of a small file is git's own.
fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The size of a piece.
pub const BUFFER: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 of `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn open(blob: &Path, size: u64) -> Partial {
        let etag = blob.file_name().expect("a name").to_str().expect("a name");
        match Partial::open(blob, etag, size).expect("a file") {
            Begun::Part(partial) => *partial,
            _ => panic!("{blob:?} is whole"),
        }
    }

    #[test]
    fn an_interrupted_file_goes_on_and_is_compared_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let blob = folder.path().join(ABC);
        let mut partial = open(&blob, 3);
        partial.push(b"ab").unwrap();
        drop(partial);
        let mut partial = open(&blob, 3);
        assert_eq!(partial.have(), 2);
        assert!(matches!(Partial::open(&blob, ABC, 3).unwrap(), Begun::Busy));
        partial.push(b"c").unwrap();
        partial.finish().unwrap().unwrap();
        assert_eq!(std::fs::read(&blob).unwrap(), b"abc");
        assert!(matches!(Partial::open(&blob, ABC, 3).unwrap(), Begun::Whole));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn other_bytes_are_removed_and_too_few_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let blob = folder.path().join(ABC);
        let mut partial = open(&blob, 3);
        partial.push(b"abd").unwrap();
        assert_eq!(partial.finish().unwrap(), Err(Fault::Checksum));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut partial = open(&blob, 3);
        partial.push(b"a").unwrap();
        assert_eq!(partial.finish().unwrap(), Err(Fault::Short { have: 1, size: 3 }));
        assert_eq!(open(&blob, 3).have(), 1);
    }

    #[test]
    fn a_file_without_a_checksum_is_whole_only_at_the_end_of_its_transfer() {
        let folder = tempfile::tempdir().unwrap();
        let blob = folder.path().join("tag");
        std::fs::write(folder.path().join("tag.incomplete"), "abc").unwrap();
        assert_eq!(open(&blob, 3).have(), 0);
        std::fs::write(folder.path().join("tag.incomplete"), "abcd").unwrap();
        assert_eq!(open(&blob, 3).have(), 0);
    }
}
