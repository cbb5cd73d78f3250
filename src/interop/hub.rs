//! Models on the Hugging Face Hub, through the cache of Hugging Face's own programs.

use super::InteropError;
use std::path::PathBuf;

/// The events of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Download<'a> {
    /// The download of a file begins.
    Begin {
        /// The file's name in the repository.
        file: &'a str,
        /// The file's size.
        bytes: u64,
    },
    /// This many further bytes have arrived.
    More(u64),
    /// The file is complete.
    End,
}

/// A model on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    repository: String,
    revision: String,
}

impl Name {
    /// `OWNER/NAME` or `OWNER/NAME@REVISION`.
    fn parse(text: &str) -> Result<Name, InteropError> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        // The parts become parts of paths and must not lead outside the cache.
        let part = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.chars().all(plain) && !part.starts_with('.')
        };
        let whole = repository.split('/').count() == 2;
        if !(whole && repository.split('/').all(part) && revision.split('/').all(part)) {
            return Err(InteropError::Unknown(format!(
                "hf:{text}: write it as hf:OWNER/NAME or hf:OWNER/NAME@REVISION"
            )));
        }
        Ok(Name { repository: repository.into(), revision: revision.into() })
    }
}

/// Downloads the missing files of the model `OWNER/NAME[@REVISION]` and returns its folder in the cache, in
/// Hugging Face's layout. Cached files are not requested again.
///
/// # Errors
/// If there is no such model, or the hub cannot be reached.
pub fn download(name: &str, watch: &mut dyn FnMut(Download<'_>)) -> Result<PathBuf, InteropError> {
    fetch::download(&Name::parse(name)?, watch)
}

#[cfg(not(feature = "hub"))]
mod fetch {
    use super::*;

    pub fn download(name: &Name, _: &mut dyn FnMut(Download<'_>)) -> Result<PathBuf, InteropError> {
        let Name { repository, revision } = name;
        Err(InteropError::Unknown(format!(
            "this program was built without its feature `hub` and downloads nothing; download {repository} \
             ({revision}) yourself and name its folder"
        )))
    }
}

#[cfg(feature = "hub")]
mod fetch {
    use super::*;
    use hf_hub::api::Progress;
    use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
    use hf_hub::{Cache, CacheRepo, Repo, RepoType};
    use std::path::Path;

    /// Candidate names of each of a model's files; the first that exists is taken. The scheduler's file is
    /// optional.
    const FILES: [&[&str]; 3] = [
        &["unet/config.json", "config.json"],
        &[
            "unet/diffusion_pytorch_model.safetensors",
            "diffusion_pytorch_model.safetensors",
            "unet/diffusion_pytorch_model.bin",
            "diffusion_pytorch_model.bin",
        ],
        &["scheduler/scheduler_config.json", "scheduler_config.json"],
    ];

    pub fn download(name: &Name, watch: &mut dyn FnMut(Download<'_>)) -> Result<PathBuf, InteropError> {
        let repo = Repo::with_revision(name.repository.clone(), RepoType::Model, name.revision.clone());
        let failed = |error: ApiError| explain(name, &error);
        let api = ApiBuilder::from_env().with_progress(false).build().map_err(failed)?;
        let hub = Hub { cache: Cache::from_env().repo(repo.clone()), api: api.repo(repo) };
        // A branch may advance during the download. The files then lie in two folders, and the second pass
        // completes the newer one.
        for _ in 0..2 {
            let [config, weights, scheduler] = FILES;
            let mut folders = Vec::new();
            for files in [config, weights] {
                let found = hub.first(files, watch).map_err(failed)?;
                folders.push(found.ok_or_else(|| {
                    InteropError::Unknown(format!("{} holds no {}", name.repository, files[0]))
                })?);
            }
            folders.extend(hub.first(scheduler, watch).map_err(failed)?);
            if folders.iter().all(|folder| *folder == folders[0]) {
                return Ok(folders.swap_remove(0));
            }
        }
        Err(InteropError::Unknown(format!("{} changed while it was downloaded; try again", name.repository)))
    }

    struct Hub {
        cache: CacheRepo,
        api: ApiRepo,
    }

    impl Hub {
        /// The folder with the first of `files` that exists.
        fn first(
            &self,
            files: &[&str],
            watch: &mut dyn FnMut(Download<'_>),
        ) -> Result<Option<PathBuf>, ApiError> {
            let folder = |path: &Path, file: &str| {
                path.ancestors().nth(file.split('/').count()).map(Path::to_path_buf)
            };
            if let Some(found) = files.iter().find_map(|file| folder(&self.cache.get(file)?, file)) {
                return Ok(Some(found));
            }
            for file in files {
                match self.api.download_with_progress(file, Watched(watch)) {
                    Ok(path) => return Ok(folder(&path, file)),
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(None)
        }
    }

    struct Watched<'a>(&'a mut dyn FnMut(Download<'_>));

    impl Progress for Watched<'_> {
        fn init(&mut self, size: usize, file: &str) {
            (self.0)(Download::Begin { file, bytes: size as u64 });
        }

        fn update(&mut self, size: usize) {
            (self.0)(Download::More(size as u64));
        }

        fn finish(&mut self) {
            (self.0)(Download::End);
        }
    }

    /// The response's status and the hub's error code.
    fn status(error: &ApiError) -> Option<(u16, &str)> {
        let ApiError::RequestError(error) = error else { return None };
        let ureq::Error::Status(code, response) = &**error else { return None };
        Some((*code, response.header("x-error-code").unwrap_or_default()))
    }

    /// Returns true if the repository exists and the file does not.
    fn is_absent(error: &ApiError) -> bool {
        matches!(status(error), Some((404, "" | "EntryNotFound")))
    }

    fn explain(name: &Name, error: &ApiError) -> InteropError {
        let Name { repository, revision } = name;
        InteropError::Unknown(match (status(error), error) {
            (Some((_, "RevisionNotFound")), _) => {
                format!("the hub has no revision {revision} of {repository}")
            }
            // The hub also answers 401 for a model that does not exist, to hide private ones.
            (Some((401 | 404, _)), _) => {
                format!(
                    "the hub has no model {repository}, or it is private and needs a login (huggingface-cli \
                     login)"
                )
            }
            (Some((403, _)), _) => {
                format!("the hub refuses {repository} to this login; request access on the model's page")
            }
            (Some((code, _)), _) => format!("the hub answers {code} for {repository}; try again later"),
            (None, ApiError::RequestError(error)) => {
                format!("the hub cannot be reached for {repository} ({error})")
            }
            (None, error) => format!("{repository} cannot be downloaded ({error})"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_an_owner_a_model_and_perhaps_a_revision() {
        let name = |text: &str| Name::parse(text).map(|name| (name.repository, name.revision)).ok();
        let parsed = |repository: &str, revision: &str| Some((repository.to_string(), revision.to_string()));
        assert_eq!(name("google/ddpm-cifar10-32"), parsed("google/ddpm-cifar10-32", "main"));
        assert_eq!(name("a/b.c@refs/pr/1"), parsed("a/b.c", "refs/pr/1"));
        for wrong in ["", "a", "a/", "/b", "a/b/c", "a/b@", "../b", "a/..", "a/b@../../c", "a/b c", "a/b?x"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }
}
