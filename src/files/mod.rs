//! Plain files: reading them whole, and atomic writes, after which a file is either the old one or the new one, even after a
//! crash.

mod header;

use crate::memory;
pub use header::{NO_SUM, is_whole, place_of_sum, repeated_key, repeated_name};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// The prefix of temporary files.
const ASIDE: &str = ".writing-";

/// Opens a plain file that the host has memory for. A folder, a pipe or a device is refused before it is opened: it may have
/// no end, or never begin.
///
/// # Errors
/// Errors of the file system, and what the path is instead.
pub fn open(path: &Path) -> io::Result<File> {
    let found = std::fs::metadata(path)?;
    if found.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    if !found.is_file() {
        return Err(io::Error::other(
            "it is no plain file but a pipe or a device; save what it holds to a file",
        ));
    }
    if !memory::fits(found.len()) {
        let bytes = found.len();
        return Err(io::Error::other(format!("its {bytes} bytes are more than this machine has memory for")));
    }
    File::open(path)
}

/// The bytes of a file, or of an entry of an archive, to its end: the checksum is compared there.
///
/// # Errors
/// Errors of reading; if there are more bytes than the host has memory for.
pub fn whole(source: impl Read) -> io::Result<Vec<u8>> {
    let (most, mut bytes) = (memory::available().unwrap_or(u64::MAX - 1), Vec::new());
    source.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::other("it is more than this machine has memory for")),
        false => Ok(bytes),
    }
}

/// The bytes of a plain file (see [`open`]).
///
/// # Errors
/// As for [`open`], and errors of reading.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a plain file (see [`open`]).
///
/// # Errors
/// As for [`open`], and errors of reading; if it is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// The fault of an archive (zip) that its reader passes over: bytes before or after it, as it is found from its end, or an entry
/// that occurs twice. The reader has found `entries` with different names, the beginning and the length of the comment.
///
/// # Errors
/// Errors of reading.
pub fn archive_fault(
    file: &mut (impl Read + Seek),
    begins: u64,
    comment: usize,
    entries: usize,
) -> io::Result<Option<&'static str>> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = [0; 22];
    file.seek(SeekFrom::Start(length.saturating_sub(end.len() as u64 + comment as u64)))?;
    file.read_exact(&mut end)?;
    // Archives of the 64-bit format have their number elsewhere.
    let count = usize::from(u16::from_le_bytes([end[10], end[11]]));
    Ok(match () {
        () if begins > 0 || !end.starts_with(b"PK\x05\x06") => Some("other bytes stand before or after it"),
        () if count != usize::from(u16::MAX) && count != entries => Some("it holds an entry twice"),
        () => None,
    })
}

/// Writes a temporary file in the folder of `path`, flushes it to disk, and renames it to `path`. `write`
/// receives the temporary path, which has the extension of `path`.
///
/// # Errors
/// Errors of `write` and of the file system. The old file is then unchanged, and no temporary file remains.
pub fn atomically<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let ending = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    let mut builder = tempfile::Builder::new();
    builder.prefix(ASIDE).suffix(&ending);
    // The user's umask decides who can read the file; temporary files are private by default.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // The error would name the temporary file, which is unknown to the user.
    let aside = builder.tempfile_in(folder).map_err(|e| io::Error::from(e.kind()))?;
    let permissions = aside.as_file().metadata()?.permissions();
    write(aside.path())?;
    // `write` may have replaced the file, so open the path again.
    let written = std::fs::File::open(aside.path())?;
    written.set_permissions(permissions)?;
    written.sync_all()?;
    aside.persist(path).map_err(|e| e.error)?;
    // The rename is durable once the folder is flushed. Some systems cannot open a folder.
    if let Ok(folder) = std::fs::File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Writes the bytes of a file (see [`atomically`]).
///
/// # Errors
/// Errors of the file system. The old file is then unchanged.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    atomically(path, |aside| std::fs::write(aside, bytes))
}

/// Removes the temporary files of a process that was killed while writing.
pub fn sweep(folder: &Path) {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for file in files.filter(|file| file.file_name().to_string_lossy().starts_with(ASIDE)) {
        let _ = std::fs::remove_file(file.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.txt");
        std::fs::write(&path, "text").unwrap();
        assert_eq!((read(&path).unwrap(), read_to_string(&path).unwrap()), (b"text".to_vec(), "text".into()));
        assert!(read(folder.path()).unwrap_err().to_string().contains("folder"));
        #[cfg(unix)]
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().contains("device"));
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.txt");
        atomically(&path, |aside| std::fs::write(aside, "old")).unwrap();
        let failed = atomically(&path, |aside| {
            std::fs::write(aside, "half")?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        atomically(&path, |aside| std::fs::write(aside, "new")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn temporary_files_of_a_killed_process_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".writing-x"), "half").unwrap();
        std::fs::write(folder.path().join("kept"), "whole").unwrap();
        sweep(folder.path());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
