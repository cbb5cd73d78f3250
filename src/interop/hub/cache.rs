//! The cache of Hugging Face's own programs: `blobs/ETAG` holds the bytes, `snapshots/COMMIT/FILE` leads to
//! them, and `refs/REVISION` holds the commit.

use super::{HubError, Name, client::Facts, name::tag};
use crate::files::atomically;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The part of the cache that belongs to a model.
pub struct Cache {
    folder: PathBuf,
    revision: String,
}

impl Cache {
    /// The model's part of the cache at `root`.
    pub fn new(root: &Path, name: &Name) -> Cache {
        let folder = root.join(format!("models--{}", name.repository.replace('/', "--")));
        Cache { folder, revision: name.revision.clone() }
    }

    /// The folder of the revision's files and a file in it, if it is there.
    pub fn get(&self, file: &str) -> Option<PathBuf> {
        let commit = tag(&fs::read_to_string(self.reference()).ok()?)?;
        let folder = self.folder.join("snapshots").join(commit);
        folder.join(file).exists().then_some(folder)
    }

    fn reference(&self) -> PathBuf {
        self.folder.join("refs").join(&self.revision)
    }

    /// The place of a file's bytes.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Makes `file` of the commit lead to its bytes, and the revision to the commit. Returns the commit's folder.
    pub fn link(&self, facts: &Facts, file: &str) -> Result<PathBuf, HubError> {
        let folder = self.folder.join("snapshots").join(&facts.commit);
        let pointer = folder.join(file);
        within(&pointer, |pointer| {
            if pointer.exists() {
                return Ok(());
            }
            // A link whose bytes somebody has removed.
            if pointer.symlink_metadata().is_ok() {
                fs::remove_file(pointer)?;
            }
            // Relative, so that the cache can be moved: out of the file's folders, the commit's and `snapshots`.
            let up = "../".repeat(file.matches('/').count() + 2);
            match symlink(format!("{up}blobs/{}", facts.etag).as_ref(), pointer) {
                Err(_) if pointer.exists() => Ok(()),
                Err(_) => atomically(pointer, |aside| fs::copy(self.blob(&facts.etag), aside).map(|_| ())),
                done => done,
            }
        })?;
        within(&self.reference(), |reference| {
            atomically(reference, |aside| fs::write(aside, &facts.commit))
        })?;
        Ok(folder)
    }
}

/// Does something to a file of the cache, whose folder is made.
pub fn within<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, HubError> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| act(path)).map_err(|error| HubError::Cache { path: path.to_path_buf(), error })
}

#[cfg(unix)]
fn symlink(to: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(windows)]
fn symlink(to: &Path, at: &Path) -> io::Result<()> {
    // Windows follows no link with slashes.
    std::os::windows::fs::symlink_file(to.components().collect::<PathBuf>(), at)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        Name { repository: "owner/tiny".into(), revision: "refs/pr/1".into() }
    }

    #[test]
    fn a_file_leads_to_its_bytes_and_a_revision_to_its_commit() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path(), &name());
        let facts = Facts { etag: "abc".into(), commit: "0123".into() };
        assert_eq!(cache.get("unet/config.json"), None);
        within(&cache.blob("abc"), |blob| fs::write(blob, "{}")).unwrap();
        // Twice, and over a link that leads nowhere.
        for _ in 0..2 {
            let folder = cache.link(&facts, "unet/config.json").unwrap();
            assert_eq!(folder, root.path().join("models--owner--tiny/snapshots/0123"));
            assert_eq!(fs::read_to_string(folder.join("unet/config.json")).unwrap(), "{}");
            assert_eq!(cache.get("unet/config.json"), Some(folder));
        }
        let reference = root.path().join("models--owner--tiny/refs/refs/pr/1");
        assert_eq!(fs::read_to_string(&reference).unwrap(), "0123");
        #[cfg(unix)]
        {
            let link = root.path().join("models--owner--tiny/snapshots/0123/unet/config.json");
            assert_eq!(fs::read_link(&link).unwrap(), Path::new("../../../blobs/abc"));
            fs::rename(cache.blob("abc"), cache.blob("new")).unwrap();
            assert_eq!(cache.get("unet/config.json"), None);
            cache.link(&Facts { etag: "new".into(), ..facts }, "unet/config.json").unwrap();
            assert!(link.exists());
        }
        // A reference that leads elsewhere leads nowhere.
        fs::create_dir_all(root.path().join("elsewhere/unet")).unwrap();
        fs::write(root.path().join("elsewhere/unet/config.json"), "{}").unwrap();
        fs::write(&reference, "../../elsewhere").unwrap();
        assert_eq!(cache.get("unet/config.json"), None);
    }
}
