//! The files of a model, and their way into the cache.

use super::address::Address;
use super::cache::{Cache, within};
use super::client::{Answer, Client, Facts, Failure, Limits, Part, Why, Word};
use super::name::is_part;
use super::partial::{BUFFER, Begun, Partial};
use super::surroundings::Surroundings;
use super::{Download, Fault, HubError, Name};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Candidate names of the network's configuration; the first that exists is taken.
const CONFIG: &[&str] = &["unet/config.json", "config.json"];

/// Of its weights: whole, in several files, as a pickle, in half precision.
const WEIGHTS: &[&str] = &[
    "unet/diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors.index.json",
    "unet/diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
];

/// Of the scheduler's file, which a model need not have.
const SCHEDULER: &[&str] = &["scheduler/scheduler_config.json", "scheduler_config.json"];

pub fn download(name: &Name, watch: &mut dyn FnMut(Download<'_>)) -> Result<PathBuf, HubError> {
    let Surroundings { endpoint, cache, token } = Surroundings::read()?;
    let address = Address::parse(&endpoint).ok_or_else(|| HubError::Endpoint(endpoint.clone()))?;
    let hub = Hub {
        name,
        client: Client::new(address, token, Limits::default()),
        cache: Cache::new(&cache, name),
        endpoint,
    };
    hub.model(watch)
}

/// A file's tag, commit and size.
struct About {
    facts: Facts,
    size: u64,
}

/// A model, the hub and the cache.
pub struct Hub<'a> {
    pub name: &'a Name,
    pub endpoint: String,
    pub client: Client,
    pub cache: Cache,
}

impl Hub<'_> {
    /// Downloads what is missing of the model, and returns its folder.
    pub fn model(&self, watch: &mut dyn FnMut(Download<'_>)) -> Result<PathBuf, HubError> {
        // A branch may advance during the download. The files then lie in two folders, and the second pass
        // completes the newer one.
        for _ in 0..2 {
            let mut folders = Vec::new();
            for files in [CONFIG, WEIGHTS] {
                let (folder, file) = self.first(files, watch)?.ok_or_else(|| self.no_file(files[0]))?;
                for shard in self.shards(&folder, file)? {
                    let (folder, _) = self.first(&[&shard], watch)?.ok_or_else(|| self.no_file(&shard))?;
                    folders.push(folder);
                }
                folders.push(folder);
            }
            folders.extend(self.first(SCHEDULER, watch)?.map(|(folder, _)| folder));
            if folders.iter().all(|folder| *folder == folders[0]) {
                return Ok(folders.swap_remove(0));
            }
        }
        Err(HubError::Changed(self.name.repository.clone()))
    }

    /// The first of `files` that exists, and the folder of its commit.
    fn first<'f>(
        &self,
        files: &[&'f str],
        watch: &mut dyn FnMut(Download<'_>),
    ) -> Result<Option<(PathBuf, &'f str)>, HubError> {
        if let Some(found) = files.iter().find_map(|file| Some((self.cache.get(file)?, *file))) {
            return Ok(Some(found));
        }
        for file in files {
            if let Some(folder) = self.fetch(file, watch)? {
                return Ok(Some((folder, file)));
            }
        }
        Ok(None)
    }

    /// The files that an index of weights names, beside it; none for another file.
    fn shards(&self, folder: &Path, file: &str) -> Result<BTreeSet<String>, HubError> {
        let Some(stem) = file.strip_suffix(".index.json") else { return Ok(BTreeSet::new()) };
        let path = folder.join(file);
        let wrong =
            |why| HubError::Index { repository: self.name.repository.clone(), file: file.into(), why };
        let length = path.metadata().map(|about| about.len());
        let text = match length {
            Ok(length) if length <= LARGEST_INDEX => std::fs::read_to_string(&path),
            _ => return Err(wrong("it is too large")),
        };
        let text = text.map_err(|_| wrong("it cannot be read"))?;
        let names = names(&text).ok_or_else(|| wrong("it is no JSON with a weight_map of files"))?;
        let beside = stem.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        if names.is_empty() || names.len() > MOST_SHARDS {
            return Err(wrong("it names no files, or more than 1000"));
        }
        if !names.iter().all(|name| is_part(name) && name.ends_with(".safetensors")) {
            return Err(wrong("it names files that are no plain names ending in .safetensors"));
        }
        Ok(names.iter().map(|name| format!("{beside}{name}")).collect())
    }

    /// Downloads a file and returns the folder of its commit; nothing if the model has no such file.
    fn fetch(&self, file: &str, watch: &mut dyn FnMut(Download<'_>)) -> Result<Option<PathBuf>, HubError> {
        let Name { repository, revision } = self.name;
        // A slash in a revision's name is not one of the address.
        let revision = revision.replace('/', "%2F");
        let text = format!("{}/{repository}/resolve/{revision}/{file}", self.endpoint);
        let address = Address::parse(&text).ok_or_else(|| HubError::Endpoint(self.endpoint.clone()))?;
        // The headers of the first byte give tag, commit and size, and whether the rest is needed.
        let about = match self.client.get(&address, "bytes=0-0") {
            Ok(answer) => About { facts: answer.facts, size: answer.part.size },
            Err(Failure { why: Why::Status(404, Word::NoFile | Word::None), .. }) => return Ok(None),
            Err(failure) => return Err(self.explain(file, failure)),
        };
        let (facts, size) = (&about.facts, about.size);
        let blob = self.cache.blob(&facts.etag);
        match within(&blob, |blob| Partial::open(blob, &facts.etag, size))? {
            Begun::Whole => {}
            Begun::Busy => {
                return Err(HubError::Busy { repository: repository.clone(), file: file.into() });
            }
            Begun::Part(mut partial) => {
                watch(Download::Begin { file, bytes: size });
                watch(Download::More(partial.have()));
                let host = match partial.have() < size {
                    true => self.fill(&address, file, &about, &mut partial, watch)?,
                    false => address.host().to_string(),
                };
                let done = within(&blob, |_| partial.finish())?;
                done.map_err(|fault| self.explain(file, Failure { host, why: Why::Fault(fault) }))?;
                watch(Download::End);
            }
        }
        self.cache.link(facts, file).map(Some)
    }

    /// Downloads the missing bytes, and returns the host that sent them.
    fn fill(
        &self,
        address: &Address,
        file: &str,
        about: &About,
        partial: &mut Partial,
        watch: &mut dyn FnMut(Download<'_>),
    ) -> Result<String, HubError> {
        let written = |done| within(&self.cache.blob(&about.facts.etag), |_| done);
        let answer = match self.client.get(address, &format!("bytes={}-", partial.have())) {
            // It cannot go on where the last transfer ended.
            Err(Failure { why: Why::Status(416, _), .. }) if partial.have() > 0 => {
                written(partial.restart())?;
                self.client.get(address, "bytes=0-")
            }
            answer => answer,
        };
        let Answer { facts, part, host, mut body } = answer.map_err(|failure| self.explain(file, failure))?;
        let failed = |fault| Err(self.explain(file, Failure { host: host.clone(), why: Why::Fault(fault) }));
        if facts != about.facts {
            return Err(HubError::Changed(self.name.repository.clone()));
        }
        let Part { first, last, size } = part;
        if size != about.size || last + 1 != size || ![0, partial.have()].contains(&first) {
            return failed(Fault::Part);
        }
        if first < partial.have() {
            written(partial.restart())?;
            watch(Download::Begin { file, bytes: size });
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = match body.read(&mut buffer) {
                Ok(0) => return Ok(host),
                Ok(n) => n,
                Err(error) => {
                    return failed(match self.client.fault(error.into()) {
                        silent @ Fault::Silent(_) => silent,
                        _ => Fault::Short { have: partial.have(), size },
                    });
                }
            };
            if n as u64 > size - partial.have() {
                written(partial.restart())?;
                return failed(Fault::Long(size));
            }
            written(partial.push(&buffer[..n]))?;
            watch(Download::More(n as u64));
        }
    }

    fn no_file(&self, file: &str) -> HubError {
        HubError::NoFile { repository: self.name.repository.clone(), file: file.into() }
    }

    fn explain(&self, file: &str, Failure { host, why }: Failure) -> HubError {
        let Name { repository, revision } = self.name.clone();
        let file = file.to_string();
        match why {
            Why::Fault(fault) => HubError::Transfer { repository, file, host, fault },
            Why::Status(_, Word::NoRevision) => HubError::NoRevision { repository, revision },
            Why::Status(_, Word::NoAccess) | Why::Status(403, Word::None) => HubError::NoAccess(repository),
            Why::Status(_, Word::NoModel) | Why::Status(401, _) => {
                let login = match self.client.endpoint().is_https() {
                    true => "huggingface-cli login",
                    false => "which is sent over https only",
                };
                HubError::NoModel { repository, login }
            }
            Why::Status(status, _) => HubError::Status { repository, file, host, status },
        }
    }
}

/// The files that an index's `weight_map` names.
fn names(index: &str) -> Option<BTreeSet<String>> {
    let index: serde_json::Value = serde_json::from_str(index).ok()?;
    index.get("weight_map")?.as_object()?.values().map(|name| Some(name.as_str()?.to_string())).collect()
}

/// Bytes of an index; a tensor takes about a hundred.
const LARGEST_INDEX: u64 = 1 << 26;

/// Files of a model's weights.
const MOST_SHARDS: usize = 1000;
