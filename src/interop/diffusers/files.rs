//! The files of a network's weights: one, several with an index, a variant, in either format.

use super::names::Entry;
use super::python;
use crate::interop::InteropError;
use crate::interop::find::{Found, Leaf, find};
use crate::interop::safetensors::{floats, open};
use crate::interop::torch::TorchFile;
use crate::interop::weights::torch_sets;
use crate::nn::{ParameterSpec, Registry};
use ::safetensors::SafeTensors;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The name of every file of weights without its ending.
const STEM: &str = "diffusion_pytorch_model";

/// The name of the file that the exporter writes.
pub(super) const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// The files of weights in a folder, the one to be read first: whole before variants, safetensors before PyTorch's.
pub(super) fn candidates(folder: &Path) -> Result<Vec<String>, InteropError> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let Some(rest) = name.strip_prefix(STEM) else { continue };
        let index = rest.contains(".index.") && rest.ends_with(".json");
        let file = [".safetensors", ".bin"].into_iter().any(|ending| rest.ends_with(ending));
        if !index && (!file || rest.contains("-of-")) {
            continue;
        }
        let plain = [".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json"];
        let variant = plain.iter().position(|known| *known == rest);
        let torch = rest.contains(".bin");
        all.push((variant.unwrap_or(plain.len()), torch, index, name));
    }
    all.sort();
    if all.is_empty() {
        return Err(InteropError::Unknown(format!("{} holds no {WEIGHTS}", folder.display())));
    }
    Ok(all.into_iter().map(|(.., name)| name).collect())
}

/// The values of a network in this crate's file order.
pub(super) struct Values {
    pub raw: Vec<Vec<f32>>,
    pub averages: Option<Vec<Vec<f32>>>,
    pub frozen: Vec<Vec<f32>>,
}

/// Reads one of the [`candidates`].
///
/// # Errors
/// If a file is missing or damaged, or tensors are missing, surplus or of another shape.
pub(super) fn read(
    folder: &Path,
    file: &str,
    entries: &[Entry],
    registry: &Registry,
) -> Result<Values, InteropError> {
    let parts = match file.ends_with(".json") {
        true => shards(folder, file)?,
        false => vec![folder.join(file)],
    };
    let reader = Reader::new(entries, registry);
    let torch = parts.iter().any(|path| path.extension().is_some_and(|ending| ending == "bin"));
    if torch { reader.torch(&parts) } else { reader.safetensors(&parts) }
}

/// The files that an index names.
fn shards(folder: &Path, index: &str) -> Result<Vec<PathBuf>, InteropError> {
    let wrong = |why: String| InteropError::Damaged(format!("{index} {why}"));
    let value = python::read(index, &crate::files::read_to_string(&folder.join(index))?)?;
    let map = value.get("weight_map").and_then(|map| map.as_object());
    let map = map.ok_or_else(|| wrong("has no weight_map".into()))?;
    let mut names = BTreeSet::new();
    for value in map.values() {
        let name = value.as_str().unwrap_or_default();
        // A plain name of this folder.
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', ':']) {
            return Err(wrong(format!("names {value}, which is no file of its folder")));
        }
        names.insert(name);
    }
    if names.is_empty() {
        return Err(wrong("names no files".into()));
    }
    let mut paths = Vec::new();
    for name in names {
        if !folder.join(name).is_file() {
            return Err(InteropError::Mismatch(format!("{index} names {name}, which is missing")));
        }
        paths.push(folder.join(name));
    }
    Ok(paths)
}

/// Finds a network's tensors by Hugging Face's names.
struct Reader<'a> {
    /// The parameters under their names there.
    theirs: Registry,
    /// The current name and the change of every known name.
    known: HashMap<&'a str, &'a Entry>,
}

impl<'a> Reader<'a> {
    fn new(entries: &'a [Entry], registry: &Registry) -> Reader<'a> {
        let mut theirs = registry.clone();
        let specs = theirs.frozen.iter_mut().chain(&mut theirs.trainable);
        specs.zip(entries).for_each(|(spec, entry)| spec.name.clone_from(&entry.theirs[0]));
        let known = entries.iter().flat_map(|entry| entry.theirs.iter().map(move |name| (&name[..], entry)));
        Reader { theirs, known: known.collect() }
    }

    /// A tensor's path with the name of today in place of that of the first releases.
    fn renamed(&self, path: &str) -> String {
        let begins = path.match_indices('.').map(|(at, _)| at + 1);
        for at in std::iter::once(0).chain(begins) {
            if let Some(entry) = self.known.get(&path[at..]) {
                return format!("{}{}", &path[..at], entry.theirs[0]);
            }
        }
        path.to_string()
    }

    /// The shape of a parameter there.
    fn shape(&self, spec: &ParameterSpec) -> Vec<usize> {
        let ours = spec.layout.file_shape();
        self.known.get(&spec.name[..]).map_or_else(|| ours.clone(), |entry| entry.change.shape(&ours))
    }

    fn safetensors(&self, parts: &[PathBuf]) -> Result<Values, InteropError> {
        let bytes = parts.iter().map(|path| crate::files::read(path)).collect::<Result<Vec<_>, _>>()?;
        let files = bytes.iter().map(|bytes| open(bytes)).collect::<Result<Vec<SafeTensors<'_>>, _>>()?;
        let mut leaves = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let mut names = file.names();
            names.sort();
            for name in names {
                let view = file.tensor(name).map_err(|e| InteropError::Damaged(e.to_string()))?;
                leaves.push(Leaf {
                    path: self.renamed(name),
                    home: 0,
                    listed: false,
                    array: !view.shape().is_empty(),
                    tensor: true,
                    held: (number, name.to_string()),
                });
            }
        }
        let found: Found<(usize, String)> = find(&leaves, &self.theirs, false)?;
        let one = |held: &(usize, String), spec: &ParameterSpec| {
            let (number, name) = held;
            let view = files[*number].tensor(name).map_err(|e| InteropError::Damaged(e.to_string()))?;
            let expected = self.shape(spec);
            if view.shape() != expected {
                let text = format!("{name} has shape {:?}, its config.json says {expected:?}", view.shape());
                return Err(InteropError::Mismatch(text));
            }
            floats(&view, name)
        };
        self.values(&found, one)
    }

    fn torch(&self, parts: &[PathBuf]) -> Result<Values, InteropError> {
        let files = parts.iter().map(|path| TorchFile::open(path)).collect::<Result<Vec<_>, _>>()?;
        let shape = |spec: &ParameterSpec| self.shape(spec);
        let found = torch_sets(&files, &self.theirs, &|path| self.renamed(path), &shape)?;
        self.values(&found, |values: &Vec<f32>, _| Ok(values.clone()))
    }

    /// The values of what was found, in this crate's order.
    fn values<T>(
        &self,
        found: &Found<T>,
        read: impl Fn(&T, &ParameterSpec) -> Result<Vec<f32>, InteropError>,
    ) -> Result<Values, InteropError> {
        let all = |held: &[T], theirs: &[ParameterSpec]| {
            let one = |(held, spec): (&T, &ParameterSpec)| {
                let values = read(held, spec)?;
                let entry = self.known.get(&spec.name[..]);
                Ok(entry.map_or(values.clone(), |entry| entry.change.apply(&values, &self.shape(spec))))
            };
            held.iter().zip(theirs).map(one).collect::<Result<Vec<_>, InteropError>>()
        };
        let raw = all(&found.raw, &self.theirs.trainable)?;
        let averages = found.averages.as_deref().filter(|_| !found.only_averages);
        let averages = averages.map(|averages| all(averages, &self.theirs.trainable)).transpose()?;
        let frozen = all(&found.frozen, &self.theirs.frozen)?;
        Ok(Values { raw, averages, frozen })
    }
}
