//! Import and export of Hugging Face's `UNet2DModel` in its NCSN++ form (Skip blocks, Fourier embedding) and
//! its DDPM form.
//!
//! A model is a folder: `model_index.json`, `unet/config.json`, `unet/diffusion_pytorch_model.safetensors`,
//! `scheduler/scheduler_config.json`; or just the contents of `unet`.

mod names;
mod unet;

use super::InteropError;
use super::safetensors::floats;
use super::torch::TorchFile;
use crate::config::Config;
use crate::files::atomically;
use crate::nn::{ParameterSpec, Registry, ScoreModel, State};
use ::safetensors::{Dtype, SafeTensors, tensor::TensorView};
use names::{Entry, entries};
use serde_json::json;
use std::path::{Path, PathBuf};
use unet::{Scheduler, Unet, configuration, scheduler_of, unet_of};

/// The folder of the network: `unet`, or the folder itself.
fn home(folder: &Path) -> Option<PathBuf> {
    [folder.join("unet"), folder.to_path_buf()].into_iter().find(|home| home.join("config.json").exists())
}

/// Returns true if a folder holds a model in Hugging Face's layout, judging by its `config.json`.
pub fn is_diffusers(folder: &Path) -> bool {
    home(folder).is_some()
}

/// Reads a model in Hugging Face's layout: a pipeline's folder, or its `unet` folder. The weights serve as
/// raw weights and as their average.
///
/// # Errors
/// If a file is missing or damaged, or a block or a setting is not supported; the message names it.
pub fn read_diffusers(folder: &Path, assignments: &[String]) -> Result<(Config, State), InteropError> {
    let home = home(folder).unwrap_or_else(|| folder.to_path_buf());
    let unet = Unet::parse(&text(&home.join("config.json"))?)?;
    // In a folder of the network alone, the scheduler's file is next to the network's.
    let places = ["scheduler/scheduler_config.json", "scheduler_config.json"].map(|name| folder.join(name));
    let scheduler = match places.iter().find(|path| path.exists()) {
        Some(path) => Scheduler::parse(&text(path)?)?,
        None => Scheduler::default(),
    };
    let config = configuration(&unet, &scheduler)?;
    let config = Config::from_toml(&config.to_toml(), assignments)?;
    let registry = ScoreModel::build(&config)?.registry;
    let flipped = unet.time_embedding_type == "positional" && unet.flip_sin_to_cos;
    let entries = entries(&config, &registry, flipped)?;
    let mut all = Weights::open(&home)?.take(&entries, &registry)?;
    let trainable = all.split_off(registry.frozen.len());
    let state =
        State { step: 0, raw: trainable.clone(), ema: trainable, frozen: all, moments: None, updates: 0 };
    Ok((config, state))
}

fn text(path: &Path) -> Result<String, InteropError> {
    std::fs::read_to_string(path).map_err(|e| InteropError::Unknown(format!("{}: {e}", path.display())))
}

/// The configuration described by the text of a `config.json` and, if present, of its scheduler's file.
///
/// # Errors
/// If they cannot be read, or a block or a setting is not supported; the message names it.
pub fn diffusers_config(unet: &str, scheduler: Option<&str>) -> Result<Config, InteropError> {
    let scheduler = scheduler.map(Scheduler::parse).transpose()?.unwrap_or_default();
    configuration(&Unet::parse(unet)?, &scheduler)
}

/// The file of the weights, of either kind.
enum Weights {
    Safetensors(Vec<u8>),
    Torch(Box<TorchFile>),
}

/// The names of the weights' file, the current one first.
const FILES: [&str; 2] = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"];

impl Weights {
    fn open(folder: &Path) -> Result<Weights, InteropError> {
        let [safe, torch] = FILES.map(|name| folder.join(name));
        match (safe.exists(), torch.exists()) {
            (true, _) => Ok(Weights::Safetensors(std::fs::read(safe)?)),
            (false, true) => Ok(Weights::Torch(Box::new(TorchFile::open(&torch)?))),
            (false, false) => {
                Err(InteropError::Unknown(format!("{} holds no {}", folder.display(), FILES[0])))
            }
        }
    }

    /// Every parameter's values in this crate's file order. Unknown tensors are refused, so that none is
    /// dropped silently.
    fn take(&self, entries: &[Entry], registry: &Registry) -> Result<Vec<Vec<f32>>, InteropError> {
        let specs = registry.frozen.iter().chain(&registry.trainable);
        match self {
            Weights::Safetensors(bytes) => {
                let file =
                    SafeTensors::deserialize(bytes).map_err(|e| InteropError::Damaged(e.to_string()))?;
                refuse_unknown(file.names().into_iter(), entries)?;
                let read = |(entry, spec): (&Entry, &ParameterSpec)| {
                    let found = entry.theirs.iter().find_map(|name| Some((name, file.tensor(name).ok()?)));
                    let (name, view) = found.ok_or_else(|| missing(entry))?;
                    arranged(entry, spec, view.shape(), floats(&view, name)?)
                };
                entries.iter().zip(specs).map(read).collect()
            }
            Weights::Torch(file) => {
                let root = file.root();
                refuse_unknown(root.pairs().filter_map(|(key, _)| key.text()), entries)?;
                let read = |(entry, spec): (&Entry, &ParameterSpec)| {
                    let found = entry.theirs.iter().find_map(|name| root.get(name)?.tensor());
                    let tensor = found.ok_or_else(|| missing(entry))?;
                    let expected = entry.change.shape(&spec.layout.file_shape());
                    let values = file.values(tensor, &expected)?.unwrap_or_default();
                    arranged(entry, spec, &tensor.shape, values)
                };
                entries.iter().zip(specs).map(read).collect()
            }
        }
    }
}

fn missing(entry: &Entry) -> InteropError {
    InteropError::Mismatch(format!("it holds no tensor {}", entry.theirs[0]))
}

fn refuse_unknown<'a>(names: impl Iterator<Item = &'a str>, entries: &[Entry]) -> Result<(), InteropError> {
    for name in names {
        if !entries.iter().any(|entry| entry.theirs.iter().any(|known| known == name)) {
            let text = format!("it holds {name}, which the network of its config.json does not have");
            return Err(InteropError::Mismatch(text));
        }
    }
    Ok(())
}

/// The values of one of their parameters in this crate's file order.
fn arranged(
    entry: &Entry,
    spec: &ParameterSpec,
    shape: &[usize],
    values: Vec<f32>,
) -> Result<Vec<f32>, InteropError> {
    let ours = spec.layout.file_shape();
    let theirs = entry.change.shape(&ours);
    if shape != theirs {
        let text = format!("{} has shape {shape:?}, its config.json says {theirs:?}", entry.theirs[0]);
        return Err(InteropError::Mismatch(text));
    }
    match values.iter().all(|v| v.is_finite()) {
        true => Ok(entry.change.apply(&values, &theirs)),
        false => Err(InteropError::Damaged(format!("{} has values that are not finite", entry.theirs[0]))),
    }
}

/// Writes a model's averaged weights in Hugging Face's layout. The folder must not exist yet.
///
/// # Errors
/// If `UNet2DModel` does not support the network, or a file cannot be written.
pub fn write_diffusers(folder: &Path, config: &Config, state: &State) -> Result<PathBuf, InteropError> {
    let unet = unet_of(config)?;
    let registry = ScoreModel::build(config)?.registry;
    let entries = entries(config, &registry, false)?;
    let specs = registry.frozen.iter().chain(&registry.trainable);
    let values = state.frozen.iter().chain(&state.ema);
    let arrays: Vec<(&str, Vec<usize>, Vec<f32>)> = entries
        .iter()
        .zip(specs.zip(values))
        .map(|(entry, (spec, values))| {
            let ours = spec.layout.file_shape();
            (&entry.theirs[0][..], entry.change.shape(&ours), entry.change.apply(values, &ours))
        })
        .collect();
    let views = arrays
        .iter()
        .map(|(name, shape, values)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values));
            Ok((*name, view.map_err(|e| InteropError::Damaged(e.to_string()))?))
        })
        .collect::<Result<Vec<_>, InteropError>>()?;
    let weights = ::safetensors::serialize(views, None).map_err(|e| InteropError::Damaged(e.to_string()))?;
    let (scheduler, pipeline) = scheduler_of(config);
    let class = scheduler["_class_name"].clone();
    let index = json!({
        "_class_name": pipeline, "unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", class],
    });
    let text = |value: &serde_json::Value| format!("{value:#}\n").into_bytes();
    let unet = serde_json::to_value(&unet).map_err(|e| InteropError::Unknown(e.to_string()))?;
    let home = folder.join("unet");
    let path = home.join(FILES[0]);
    let files = [
        (path.clone(), weights),
        (home.join("config.json"), text(&unet)),
        (folder.join("scheduler/scheduler_config.json"), text(&scheduler)),
        (folder.join("model_index.json"), text(&index)),
    ];
    for (path, bytes) in files {
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        atomically(&path, |aside| std::fs::write(aside, bytes))?;
    }
    Ok(path)
}
