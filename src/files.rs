//! Files that are either the old one or the new one, whatever happens.

use std::io;
use std::path::Path;

/// How the names of files begin that are being written.
const ASIDE: &str = ".writing-";

/// Writes a file aside, flushes it to disk, and renames it into place. `write` is given the path to write to, which ends
/// like `path`.
///
/// # Errors
/// Those of `write` and of the file system; what was there before is untouched then, and nothing is left behind.
pub fn atomically<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let ending = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    let mut builder = tempfile::Builder::new();
    builder.prefix(ASIDE).suffix(&ending);
    // Readable by whom the user lets read, as any other file: temporary ones are private by default.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // The error names the temporary file, which says nothing to anybody.
    let aside = builder.tempfile_in(folder).map_err(|e| io::Error::from(e.kind()))?;
    let permissions = aside.as_file().metadata()?.permissions();
    write(aside.path())?;
    // `write` may have replaced the file: what the path names now is what counts.
    let written = std::fs::File::open(aside.path())?;
    written.set_permissions(permissions)?;
    written.sync_all()?;
    aside.persist(path).map_err(|e| e.error)?;
    // The rename itself is on disk when the folder is. Not every system lets one open a folder.
    if let Ok(folder) = std::fs::File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Removes what a process that was killed while it wrote has left in a folder.
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
    fn what_was_left_behind_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".writing-x"), "half").unwrap();
        std::fs::write(folder.path().join("kept"), "whole").unwrap();
        sweep(folder.path());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
