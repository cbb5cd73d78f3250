//! Checkpoints: one safetensors file each, with the reference's names and layouts, written so that there is
//! never a broken one.
//!
//! | tensor | what |
//! | --- | --- |
//! | `raw/NAME`, `ema/NAME` | the weights and their moving average |
//! | `fixed/NAME` | parameters that are not trained |
//! | `adam.m/NAME`, `adam.v/NAME` | the optimiser's moments |
//!
//! The file's metadata hold one entry, `tweedie`: JSON with a checksum of the file, the number of steps made,
//! the configuration, from which all randomness and the order of the data follow, and the fingerprint of the
//! data.

use super::TrainError;
use super::checkpoint_file::{self, Entry, encode};
use super::error::file_error;
use super::trainer::Trainer;
use crate::choice::{Choice, choices};
use crate::config::{Config, ModelName};
use crate::data::Fingerprint;
use crate::files::{NO_SUM, is_whole, repeated_name};
use crate::gpu::Gpu;
use crate::nn::{Architecture, Arena, ParameterSpec, Parameters, Registry, ScoreModel, Scorer, State};
use crate::tensor::Tensor;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::Cursor;
use std::path::{Path, PathBuf};

choices! {
    /// The weights of a checkpoint to use.
    pub enum Weights {
        /// The trained weights.
        Raw = "raw",
        /// Their moving average.
        Ema = "ema",
    }
}

/// A checkpoint's metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Header {
    /// The checksum of the file, first in it so that its place can be found; none in files of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc32: Option<String>,
    format: u32,
    step: u64,
    /// Steps that Adam's moments average over, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updates: Option<u64>,
    /// The name of a network that the program gave; none if the configuration describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    /// The process, if the program gave the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<String>,
    /// The images of its training; none if it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Fingerprint>,
    config: Config,
}

impl Header {
    fn new(step: u64, updates: u64, config: &Config) -> Header {
        let updates = (updates != step).then_some(updates);
        let crc32 = Some(NO_SUM.into());
        let (network, process, data) = (None, None, None);
        Header { crc32, format: FORMAT, step, updates, network, process, data, config: config.clone() }
    }

    fn of<A: Architecture>(trainer: &Trainer<A>) -> Header {
        let given = trainer.config.model.name == ModelName::Given;
        let network = given.then(|| trainer.scorer.model.network.architecture().name().to_string());
        let process = given.then(|| format!("{:?}", trainer.scorer.model.process));
        let data = trainer.data.clone();
        Header { network, process, data, ..Header::new(trainer.step, trainer.updates, &trainer.config) }
    }

    fn updates(&self) -> u64 {
        self.updates.unwrap_or(self.step)
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("a header is made of what JSON can say")
    }
}

/// The format that this program writes. Format 1 had no checksum.
const FORMAT: u32 = 2;

/// A checkpoint in host memory, read and checked.
pub struct Checkpoint {
    path: PathBuf,
    header: Header,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint").field("path", &self.path).field("step", &self.header.step).finish()
    }
}

impl Checkpoint {
    /// Writes a trainer's state to a temporary file, flushes it to disk, and renames it into place.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] if a number is not finite; if the device is lost, or the file cannot be
    /// written. An existing file is then unchanged.
    pub fn write<A: Architecture>(trainer: &Trainer<A>, path: &Path) -> Result<(), TrainError> {
        let written = checkpoint_file::write(path, Header::of(trainer).json(), entries_of_trainer(trainer));
        written.map_err(|failure| match failure {
            checkpoint_file::Failure::NotFinite(name) => {
                let what = format!("{name} holds numbers that are not finite");
                TrainError::Diverged { step: trainer.step, what, good: None }
            }
            other => other.error(path),
        })
    }

    /// The bytes of a file with a trainer's state.
    pub(super) fn bytes_of<A: Architecture>(
        trainer: &Trainer<A>,
        path: &Path,
    ) -> Result<Vec<u8>, TrainError> {
        let mut bytes = Cursor::new(Vec::new());
        let encoded = encode(&mut bytes, Header::of(trainer).json(), entries_of_trainer(trainer));
        encoded.map_err(|failure| failure.error(path))?;
        Ok(bytes.into_inner())
    }

    /// The shape of a tensor, if there is one of that name.
    pub(super) fn shape(&self, name: &str) -> Result<Option<Vec<usize>>, TrainError> {
        Ok(self.tensors()?.tensor(name).ok().map(|view| view.shape().to_vec()))
    }

    /// The values of a tensor of this shape.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, TrainError> {
        self.values(&self.tensors()?, name, shape)
    }

    /// The names of the tensors, in order.
    pub(super) fn names(&self) -> Result<Vec<String>, TrainError> {
        let mut names: Vec<String> = self.tensors()?.names().into_iter().map(String::from).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The error of a file that is of no use.
    pub(super) fn error(&self, what: String) -> TrainError {
        checkpoint_error(&self.path, what)
    }

    /// Writes a state in host memory, such as an imported one.
    ///
    /// # Errors
    /// If the file cannot be written; an existing file is then unchanged.
    ///
    /// # Panics
    /// If the state is of another network than the registry.
    pub fn write_state(
        state: &State,
        registry: &Registry,
        config: &Config,
        path: &Path,
    ) -> Result<(), TrainError> {
        let header = Header::new(state.step, state.updates, config);
        let entries = entries_of_state(state, registry);
        checkpoint_file::write(path, header.json(), entries).map_err(|failure| failure.error(path))
    }

    /// A checkpoint of a state in host memory, such as an imported one; error messages call it `path`.
    ///
    /// # Errors
    /// If a number is not finite.
    ///
    /// # Panics
    /// If the state is of another network than the registry.
    pub fn of_state(
        state: &State,
        registry: &Registry,
        config: &Config,
        path: &Path,
    ) -> Result<Checkpoint, TrainError> {
        let header = Header::new(state.step, state.updates, config);
        let mut bytes = Cursor::new(Vec::new());
        encode(&mut bytes, header.json(), entries_of_state(state, registry))
            .map_err(|failure| failure.error(path))?;
        Ok(Checkpoint { path: path.to_path_buf(), header, bytes: bytes.into_inner() })
    }

    /// Reads a file and checks its header.
    ///
    /// # Errors
    /// If it cannot be read, or is not a checkpoint.
    pub fn read(path: &Path) -> Result<Checkpoint, TrainError> {
        Checkpoint::from_bytes(path, crate::files::read(path).map_err(|e| file_error(path, e))?)
    }

    /// A checkpoint from a file's bytes; error messages call it `path`.
    ///
    /// # Errors
    /// [`TrainError::Damaged`] if they are truncated or their checksum is another; [`TrainError::Checkpoint`]
    /// if they are not a checkpoint.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Checkpoint, TrainError> {
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(path, truncated(e)))?;
        if let Some(name) = repeated_name(&bytes) {
            return Err(checkpoint_error(path, format!("it holds two tensors called `{name}`")));
        }
        let sealed = is_whole(&bytes);
        if sealed == Some(false) {
            return Err(damaged(path, "it is damaged: its checksum is not that of its contents".into()));
        }
        let header = metadata.metadata().as_ref().and_then(|entries| entries.get("tweedie"));
        let header =
            header.ok_or_else(|| checkpoint_error(path, "it is not a checkpoint of this program".into()))?;
        let header: Header = serde_json::from_str(header)
            .map_err(|e| checkpoint_error(path, format!("its header cannot be read ({e})")))?;
        match header.format {
            FORMAT if sealed.is_none() => {
                return Err(damaged(path, "it is damaged: its checksum is missing".into()));
            }
            1 | FORMAT => {}
            format => {
                let what = format!("its format is {format}, this program reads 1 and {FORMAT}");
                return Err(checkpoint_error(path, what));
            }
        }
        header
            .config
            .check()
            .map_err(|e| checkpoint_error(path, format!("its configuration is not possible: {e}")))?;
        Ok(Checkpoint { path: path.to_path_buf(), header, bytes })
    }

    /// The CRC-32 of its bytes.
    pub fn checksum(&self) -> u32 {
        crc32fast::hash(&self.bytes)
    }

    /// Training steps made.
    pub fn step(&self) -> u64 {
        self.header.step
    }

    /// The images of its training; none if it was imported.
    pub fn data(&self) -> Option<&Fingerprint> {
        self.header.data.as_ref()
    }

    /// The configuration of its training.
    pub fn config(&self) -> &Config {
        &self.header.config
    }

    /// The name of the network, if the program that trained it gave it: the model is opened with
    /// [`Checkpoint::scorer_of`] then.
    pub fn network(&self) -> Option<&str> {
        self.header.network.as_deref()
    }

    /// The model with one kind of weights, for sampling.
    ///
    /// # Errors
    /// [`TrainError::Config`] if the program gave the model; if a tensor is missing, of another shape, or not
    /// finite, or the device has no room.
    pub fn scorer(&self, gpu: &Gpu, weights: Weights) -> Result<Scorer, TrainError> {
        self.scorer_of(gpu, ScoreModel::build(&self.header.config)?, weights)
    }

    /// The same for a model that the program gave when it was trained.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if it is another network's or process's; else those of
    /// [`Checkpoint::scorer`].
    pub fn scorer_of<A: Architecture>(
        &self,
        gpu: &Gpu,
        model: ScoreModel<A>,
        weights: Weights,
    ) -> Result<Scorer<A>, TrainError> {
        self.check_network(&model)?;
        let values = self.arena(gpu, &model.registry, weights.name())?;
        let frequencies = self.frequencies(gpu, &model)?;
        Ok(Scorer { model, parameters: Parameters { values, gradients: None, frequencies } })
    }

    /// The trainer that resumes from here. Missing moments of an imported model begin at 0.
    ///
    /// # Errors
    /// If a tensor is missing, of another shape, or not finite, or the device has no room.
    pub fn trainer(&self, gpu: &Gpu, config: &Config) -> Result<Trainer, TrainError> {
        self.trainer_of(gpu, config, ScoreModel::build(&self.header.config)?)
    }

    /// The same for a model that the program gave when it was trained.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] if it is another network's; else those of [`Checkpoint::trainer`].
    pub fn trainer_of<A: Architecture>(
        &self,
        gpu: &Gpu,
        config: &Config,
        model: ScoreModel<A>,
    ) -> Result<Trainer<A>, TrainError> {
        self.check_network(&model)?;
        let arena = |prefix: &str| self.arena(gpu, &model.registry, prefix);
        let (values, average) = (arena("raw")?, arena("ema")?);
        let moments = match self.has_moments()? {
            true => [arena("adam.m")?, arena("adam.v")?],
            false => [Arena::zeros(gpu, &model.registry)?, Arena::zeros(gpu, &model.registry)?],
        };
        let frequencies = self.frequencies(gpu, &model)?;
        let mut trainer = Trainer::assemble(config, model, values, frequencies, average, moments)?;
        (trainer.step, trainer.updates) = (self.header.step, self.header.updates());
        Ok(trainer)
    }

    /// The contents of the file in host memory.
    ///
    /// # Errors
    /// If a tensor is missing, of another shape, or not finite.
    pub fn state(&self) -> Result<State, TrainError> {
        let registry = ScoreModel::build(&self.header.config)?.registry;
        let file = self.tensors()?;
        let read = |prefix: &str, specs: &[ParameterSpec]| {
            let one = |spec: &ParameterSpec| {
                self.values(&file, &format!("{prefix}/{}", spec.name), &spec.layout.file_shape())
            };
            specs.iter().map(one).collect::<Result<Vec<_>, _>>()
        };
        let moments = || -> Result<[Vec<Vec<f32>>; 2], TrainError> {
            Ok([read("adam.m", &registry.trainable)?, read("adam.v", &registry.trainable)?])
        };
        Ok(State {
            step: self.header.step,
            raw: read("raw", &registry.trainable)?,
            ema: read("ema", &registry.trainable)?,
            frozen: read("fixed", &registry.frozen)?,
            moments: self.has_moments()?.then(moments).transpose()?,
            updates: self.header.updates(),
        })
    }

    fn has_moments(&self) -> Result<bool, TrainError> {
        Ok(self.tensors()?.names().iter().any(|name| name.starts_with("adam.")))
    }

    fn check_network<A: Architecture>(&self, model: &ScoreModel<A>) -> Result<(), TrainError> {
        let process = format!("{:?}", model.process);
        if let Some(theirs) = self.header.process.as_ref().filter(|theirs| **theirs != process) {
            let remedy = "give it with ScoreModel::with_process";
            let what = format!("it was trained on the process {theirs}, not {process}; {remedy}");
            return Err(checkpoint_error(&self.path, what));
        }
        let own = model.network.architecture().name();
        match self.network().filter(|name| *name != own) {
            None => Ok(()),
            Some(name) => {
                Err(checkpoint_error(&self.path, format!("it is of the network {name}, not {own}")))
            }
        }
    }

    fn arena(&self, gpu: &Gpu, registry: &Registry, prefix: &str) -> Result<Arena, TrainError> {
        let file = self.tensors()?;
        let specs = &registry.trainable;
        let values = specs
            .iter()
            .map(|spec| self.values(&file, &format!("{prefix}/{}", spec.name), &spec.layout.file_shape()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut values = values.into_iter();
        Ok(Arena::with(gpu, registry, |_| values.next().unwrap_or_default())?)
    }

    fn frequencies<A: Architecture>(&self, gpu: &Gpu, model: &ScoreModel<A>) -> Result<Tensor, TrainError> {
        let file = self.tensors()?;
        let fourier = model.registry.frozen.first();
        let fourier = fourier
            .map(|spec| self.values(&file, &format!("fixed/{}", spec.name), &spec.layout.file_shape()))
            .transpose()?;
        Ok(model.network.frequencies(gpu, fourier.as_deref())?)
    }

    fn tensors(&self) -> Result<SafeTensors<'_>, TrainError> {
        SafeTensors::deserialize(&self.bytes).map_err(|e| damaged(&self.path, truncated(e)))
    }

    fn values(&self, file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>, TrainError> {
        let wrong = |what: String| checkpoint_error(&self.path, what);
        let view = file.tensor(name).map_err(|_| wrong(format!("it holds no tensor {name}")))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            let is = format!("{:?} {:?}", view.dtype(), view.shape());
            let what = format!("{name} is {is}, and its configuration says F32 {shape:?}");
            return Err(wrong(what));
        }
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
        match values.iter().all(|v| v.is_finite()) {
            true => Ok(values),
            false => Err(damaged(&self.path, format!("{name} holds numbers that are not finite"))),
        }
    }
}

fn truncated(error: SafeTensorError) -> String {
    format!("it is truncated or not a safetensors file ({error})")
}

fn damaged(path: &Path, what: String) -> TrainError {
    TrainError::Damaged { path: path.display().to_string(), what }
}

fn checkpoint_error(path: &Path, what: String) -> TrainError {
    TrainError::Checkpoint { path: path.display().to_string(), what }
}

/// The tensors of a state in host memory.
fn entries_of_state<'a>(state: &'a State, registry: &Registry) -> Vec<Entry<'a>> {
    let host = |prefix: &str, specs: &[ParameterSpec], values: &'a [Vec<f32>]| -> Vec<Entry<'a>> {
        assert_eq!(specs.len(), values.len(), "{prefix}");
        let one = |(spec, values): (&ParameterSpec, &'a Vec<f32>)| Entry {
            name: format!("{prefix}/{}", spec.name),
            shape: spec.layout.file_shape(),
            values: Box::new(move || Ok(Cow::Borrowed(values))),
        };
        specs.iter().zip(values).map(one).collect()
    };
    let trainable = &registry.trainable;
    let mut entries = host("raw", trainable, &state.raw);
    entries.extend(host("ema", trainable, &state.ema));
    entries.extend(host("fixed", &registry.frozen, &state.frozen));
    if let Some([first, second]) = &state.moments {
        entries.extend(host("adam.m", trainable, first));
        entries.extend(host("adam.v", trainable, second));
    }
    entries
}

/// The tensors of a trainer, read off the device when they are written.
fn entries_of_trainer<A>(trainer: &Trainer<A>) -> Vec<Entry<'_>> {
    let registry = &trainer.scorer.model.registry;
    let kinds = [
        ("raw", &trainer.scorer.parameters.values),
        ("ema", &trainer.average),
        ("adam.m", &trainer.moments[0]),
        ("adam.v", &trainer.moments[1]),
    ];
    let mut entries = Vec::new();
    for (prefix, arena) in kinds {
        entries.extend(arena.named(registry).map(|(spec, view)| Entry {
            name: format!("{prefix}/{}", spec.name),
            shape: spec.layout.file_shape(),
            values: Box::new(move || Ok(Cow::Owned(spec.layout.to_file(&view.read()?)))),
        }));
    }
    entries.extend(registry.frozen.iter().map(|spec| Entry {
        name: format!("fixed/{}", spec.name),
        shape: spec.layout.file_shape(),
        values: Box::new(|| Ok(Cow::Owned(trainer.scorer.parameters.frequencies.read()?))),
    }));
    entries
}
