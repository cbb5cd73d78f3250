//! Import and export of Hugging Face's `UNet2DModel` in its NCSN++ form (Skip blocks, Fourier embedding) and
//! its DDPM form.
//!
//! A model is a folder: `model_index.json`, `unet/config.json`, `unet/diffusion_pytorch_model.safetensors`,
//! `scheduler/scheduler_config.json`; or just the contents of `unet`.

mod export;
mod files;
mod names;
mod python;
mod scheduler;
mod unet;

use super::{Imported, InteropError, Note};
use crate::config::{Config, ImageSize};
use crate::files::atomically;
use crate::nn::{ScoreModel, State};
use ::safetensors::{Dtype, tensor::TensorView};
use export::{scheduler_of, unet_of};
use files::{Values, WEIGHTS};
use names::entries;
use scheduler::Scheduler;
use serde_json::json;
use std::path::{Path, PathBuf};
use unet::{Unet, configuration};

/// The folders of a network: of its raw weights, and of their averages.
const FOLDERS: [&str; 2] = ["unet", "unet_ema"];

/// The folders of the networks: `unet` and `unet_ema`, whatever is there, or the folder itself.
fn homes(folder: &Path) -> Vec<PathBuf> {
    let holds = |home: &PathBuf| home.join("config.json").exists();
    let homes: Vec<PathBuf> = FOLDERS.map(|name| folder.join(name)).into_iter().filter(holds).collect();
    if homes.is_empty() { Some(folder.to_path_buf()).filter(holds).into_iter().collect() } else { homes }
}

/// Returns true if a folder holds a model in Hugging Face's layout, judging by its `config.json`.
pub fn is_diffusers(folder: &Path) -> bool {
    !homes(folder).is_empty()
}

/// Reads a model in Hugging Face's layout: a pipeline's folder, or its `unet` folder. One set of weights serves as raw
/// weights and as their average; of `unet` and `unet_ema` each has its place.
///
/// # Errors
/// If a file is missing or damaged, or a block or a setting is not supported; the message names it.
pub fn read_diffusers(folder: &Path, assignments: &[String]) -> Result<(Config, Imported), InteropError> {
    let homes = homes(folder);
    let home = homes.first().cloned().unwrap_or_else(|| folder.to_path_buf());
    let unet = Unet::parse(&text(&home.join("config.json"))?)?;
    let scheduler = scheduler(folder)?;
    let size = assigned_size(assignments);
    let (config, mut notes) = configuration(&unet, &scheduler, size)?;
    for other in homes.iter().skip(1) {
        let unet = Unet::parse(&text(&other.join("config.json"))?)?;
        if configuration(&unet, &scheduler, size)?.0 != config {
            let [raw, averages] = FOLDERS;
            let text = format!("{averages}/config.json describes another network than {raw}/config.json");
            return Err(InteropError::Mismatch(text));
        }
    }
    let config = config.with(assignments)?;
    let registry = ScoreModel::build(&config)?.registry;
    let entries = entries(&config, &registry, unet.flipped())?;
    let mut read = Vec::new();
    let mut taken = Vec::new();
    for home in &homes {
        let mut candidates = files::candidates(home)?.into_iter();
        let file = candidates.next().unwrap_or_default();
        read.push(files::read(home, &file, &entries, &registry)?);
        let others: Vec<String> = candidates.collect();
        if !others.is_empty() {
            notes.push(Note::Taken { taken: file.clone(), others });
        }
        taken.push(home.strip_prefix(folder).map_or(file.clone(), |at| at.join(&file).display().to_string()));
    }
    if let [raw, averages] = &taken[..] {
        notes.push(Note::RawAndAverages { raw: raw.clone(), averages: averages.clone() });
    }
    let mut read = read.into_iter();
    let Some(Values { raw, averages, frozen }) = read.next() else {
        return Err(InteropError::Unknown(format!("{} holds no config.json", folder.display())));
    };
    let ema = read.next().map(|values| values.raw).or(averages).unwrap_or_else(|| raw.clone());
    let state = State { step: 0, raw, ema, frozen, moments: None, updates: 0 };
    Ok((config, Imported { state, notes }))
}

/// The scheduler of a folder. In a folder of the network alone, its file is next to the network's.
fn scheduler(folder: &Path) -> Result<Scheduler, InteropError> {
    let places = ["scheduler/scheduler_config.json", "scheduler_config.json"].map(|name| folder.join(name));
    let scheduler = match places.iter().find(|path| path.exists()) {
        Some(path) => Scheduler::parse(&text(path)?)?,
        None => Scheduler::default(),
    };
    let class = pipeline(folder)?;
    Ok(scheduler.of_class(class))
}

/// The class of the scheduler in `model_index.json`, if there is one.
///
/// # Errors
/// If the pipeline has other parts than a network and a scheduler, or another network.
fn pipeline(folder: &Path) -> Result<Option<String>, InteropError> {
    let path = folder.join("model_index.json");
    if !path.exists() {
        return Ok(None);
    }
    let index = python::read("model_index.json", &text(&path)?)?;
    let refuse = |what: String| Err(InteropError::Unknown(format!("model_index.json: {what}")));
    let class_of = |part: &serde_json::Value| part.get(1).and_then(|class| class.as_str()).map(String::from);
    let mut scheduler = None;
    for (key, value) in index.as_object().into_iter().flatten().filter(|(key, _)| !key.starts_with('_')) {
        // A part is [library, class], [null, null] if the pipeline lacks it; other keys are settings.
        let Some(class) = class_of(value) else { continue };
        match &key[..] {
            "scheduler" => scheduler = Some(class),
            _ if FOLDERS.contains(&&key[..]) && class == "UNet2DModel" => {}
            _ if FOLDERS.contains(&&key[..]) => {
                return refuse(format!("its network is a {class}; only UNet2DModel can be imported"));
            }
            _ => {
                let parts =
                    "only pipelines of a network and a scheduler, whose samples are pixels, can be imported";
                return refuse(format!("the pipeline has a part `{key}`, a {class}; {parts}"));
            }
        }
    }
    match index.get("_class_name").and_then(|class| class.as_str()) {
        Some(class) if class.contains("LDM") || class.contains("Latent") => refuse(format!(
            "it is a {class}, whose samples are latents; only pipelines of pixels can be imported"
        )),
        _ => Ok(scheduler),
    }
}

/// The size of the images that the last assignment gives.
fn assigned_size(assignments: &[String]) -> Option<ImageSize> {
    let mut sizes = assignments.iter().rev().filter_map(|assignment| assignment.split_once('='));
    let (_, size) = sizes.find(|(key, _)| key.trim() == "data.image_size")?;
    serde_json::from_str(size.trim()).ok()
}

fn text(path: &Path) -> Result<String, InteropError> {
    crate::files::read_to_string(path).map_err(|e| InteropError::Unknown(format!("{}: {e}", path.display())))
}

/// The configuration described by the text of a `config.json` and, if present, of its scheduler's file.
///
/// # Errors
/// If they cannot be read, or a block or a setting is not supported; the message names it.
pub fn diffusers_config(unet: &str, scheduler: Option<&str>) -> Result<Config, InteropError> {
    let scheduler = scheduler.map(Scheduler::parse).transpose()?.unwrap_or_default();
    Ok(configuration(&Unet::parse(unet)?, &scheduler, None)?.0)
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
    let path = home.join(WEIGHTS);
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
