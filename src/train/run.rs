//! The run folder, and the loop that fills it.
//!
//! ```text
//! config.toml               the configuration, every key written out
//! metrics.csv               a row every `training.log_freq` steps and at every checkpoint
//! checkpoints/step-….safetensors, and latest, which names the newest
//! ```

use super::checkpoint::Checkpoint;
use super::trainer::Trainer;
use super::{TrainError, file_error};
use crate::config::Config;
use crate::data::{Dataset, Loader, Split};
use crate::files::{atomically, sweep};
use crate::gpu::Gpu;
use crate::nn::{Registry, State};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    folder: PathBuf,
}

/// How to train.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Go on from the newest checkpoint.
    pub resume: bool,
    /// Stop after so many steps in all, instead of `training.n_iters`.
    pub steps: Option<u64>,
}

/// One row of `metrics.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// Steps made.
    pub step: u64,
    /// The loss, averaged since the last row.
    pub loss: f64,
    /// The last gradient's norm before clipping.
    pub grad_norm: f64,
    /// The last step's learning rate.
    pub learning_rate: f64,
    /// Images a second since the last row.
    pub images_per_second: f64,
    /// Bytes allocated on the device.
    pub device_bytes: u64,
    /// Bytes of this process in memory.
    pub process_bytes: u64,
}

/// What the loop tells whoever watches it.
pub enum Event<'a> {
    /// The loop begins at a step, of so many in all.
    Start {
        /// Steps made before.
        step: u64,
        /// Steps to be made in all.
        steps: u64,
    },
    /// The first step since the start is through.
    First {
        /// Its loss.
        loss: f64,
        /// Images a second, compiling the kernels included.
        images_per_second: f64,
    },
    /// A step has been recorded.
    Step(u64),
    /// A row has been written.
    Row(Metrics),
    /// A checkpoint has been written.
    Saved {
        /// The trainer, for drawing samples.
        trainer: &'a Trainer,
        /// The file.
        path: &'a Path,
    },
}

impl Run {
    /// A folder, whether it exists or not.
    pub fn at(folder: impl Into<PathBuf>) -> Run {
        Run { folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `metrics.csv`.
    pub fn metrics(&self) -> PathBuf {
        self.folder.join("metrics.csv")
    }

    /// The newest checkpoint: the one that `latest` names or, where that is missing, the one with the highest number.
    /// Each is whole, or it would not be there.
    ///
    /// # Errors
    /// If there is none.
    pub fn latest(&self) -> Result<PathBuf, TrainError> {
        let named = std::fs::read_to_string(self.checkpoints().join("latest"));
        let named = named.ok().map(|name| self.checkpoints().join(name.trim())).filter(|path| path.is_file());
        let all =
            std::fs::read_dir(self.checkpoints()).into_iter().flatten().flatten().map(|file| file.path());
        let steps = all.filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("step-") && name.ends_with(".safetensors")
        });
        named.or_else(|| steps.max()).ok_or_else(|| {
            let folder = self.folder.display();
            TrainError::Run(format!(
                "{folder} holds no checkpoint; name a run folder that has one in {folder}/checkpoints"
            ))
        })
    }

    /// Makes a run of an imported model: its newest checkpoint, from which it is sampled, and trained on with `resume`.
    ///
    /// # Errors
    /// If the folder holds a run already, or cannot be written.
    ///
    /// # Panics
    /// If the state is of another network than the registry.
    pub fn import(&self, config: &Config, registry: &Registry, state: &State) -> Result<PathBuf, TrainError> {
        if self.folder.join("config.toml").exists() {
            let folder = self.folder.display();
            return Err(TrainError::Run(format!("{folder} holds a run already; choose another folder")));
        }
        self.create(config)?;
        let name = checkpoint_name(state.step);
        let path = self.checkpoints().join(&name);
        Checkpoint::write_state(state, registry, config, &path)?;
        write_whole(&self.checkpoints().join("latest"), name.as_bytes())?;
        Ok(path)
    }

    /// Trains. The folder must not hold a run, unless it is resumed with the configuration it was begun with.
    ///
    /// # Errors
    /// Whatever ends training before its last step; the last checkpoint is whole then.
    pub fn train(
        &self,
        gpu: &Gpu,
        config: &Config,
        options: RunOptions,
        watch: &mut dyn FnMut(Event<'_>) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        self.check(options)?;
        let set = Dataset::load(&config.data, Split::Train)?;
        if config.model.num_classes > 0 {
            set.check_labels(config.model.num_classes)?;
        }
        let mut loader = Loader::new(set, &config.data, config.training.batch_size, config.seed);
        let newest = options.resume.then(|| self.latest().ok()).flatten();
        let mut trainer = match newest {
            Some(path) => self.reopen(gpu, config, &path)?,
            None => Trainer::new(gpu, config)?,
        };
        let steps = options.steps.unwrap_or(config.training.n_iters);
        if let Some(asked) = options.steps.filter(|asked| *asked < trainer.step) {
            let (folder, made) = (self.folder.display(), trainer.step);
            return Err(TrainError::Run(format!(
                "--steps {asked}: {folder} has made {made} steps already; ask for more, or train to another --out"
            )));
        }
        if trainer.step > 0 {
            self.tidy(trainer.step)?;
        }
        watch(Event::Start { step: trainer.step, steps })?;
        let mut since = (Instant::now(), trainer.step);
        let first = trainer.step;
        while trainer.step < steps {
            let batch = loader.batch(trainer.draw()?.step);
            trainer.step(&batch)?;
            if trainer.step == 1 {
                // What cannot run has failed by now: nothing is left of it.
                gpu.synchronize()?;
                // Another run may have been begun here meanwhile.
                self.check(options)?;
                self.create(config)?;
            }
            if trainer.step == first + 1 {
                let loss = trainer.loss()?;
                let images_per_second = config.training.batch_size as f64 / since.0.elapsed().as_secs_f64();
                watch(Event::First { loss, images_per_second })?;
            }
            watch(Event::Step(trainer.step))?;
            let save = trainer.step % config.training.snapshot_freq == 0 || trainer.step == steps;
            if save || trainer.step % config.training.log_freq == 0 {
                let row = self.log(gpu, &mut trainer, &mut since)?;
                watch(Event::Row(row))?;
            }
            if save {
                let path = self.save(&trainer)?;
                watch(Event::Saved { trainer: &trainer, path: &path })?;
                since = (Instant::now(), trainer.step);
            }
        }
        Ok(())
    }

    /// Whether training may begin here, or go on.
    fn check(&self, options: RunOptions) -> Result<(), TrainError> {
        let exists = self.folder.join("config.toml").exists();
        let folder = self.folder.display();
        match (exists, options.resume) {
            (true, false) => Err(TrainError::Run(format!(
                "{folder} holds a run already; add --resume to go on with it, or choose another --out"
            ))),
            (false, true) => {
                Err(TrainError::Run(format!("{folder} holds no run to resume; leave --resume out")))
            }
            _ if options.steps == Some(0) => Err(TrainError::Run("--steps 0: there is nothing to do".into())),
            _ => Ok(()),
        }
    }

    /// Makes the folder, with the configuration and no row yet.
    fn create(&self, config: &Config) -> Result<(), TrainError> {
        let checkpoints = self.checkpoints();
        std::fs::create_dir_all(&checkpoints).map_err(|e| file_error(&checkpoints, e))?;
        let text = config.to_toml();
        write_whole(&self.folder.join("config.toml"), text.as_bytes())?;
        write_whole(&self.metrics(), Metrics::HEADER.as_bytes())
    }

    fn reopen(&self, gpu: &Gpu, config: &Config, newest: &Path) -> Result<Trainer, TrainError> {
        let checkpoint = Checkpoint::read(newest).map_err(|error| match error {
            TrainError::Checkpoint { path, what } => {
                TrainError::Run(format!("{path}: {what}; remove it to go on from the one before"))
            }
            other => other,
        })?;
        if let Some(begun) = difference(config, checkpoint.config()) {
            let folder = self.folder.display();
            return Err(TrainError::Run(format!(
                "{folder} was begun with {begun}; resume with that, or train to another --out"
            )));
        }
        checkpoint.trainer(gpu, config)
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    fn save(&self, trainer: &Trainer) -> Result<PathBuf, TrainError> {
        let name = checkpoint_name(trainer.step);
        let path = self.checkpoints().join(&name);
        Checkpoint::write(trainer, &path)?;
        write_whole(&self.checkpoints().join("latest"), name.as_bytes())?;
        Ok(path)
    }

    fn log(
        &self,
        gpu: &Gpu,
        trainer: &mut Trainer,
        since: &mut (Instant, u64),
    ) -> Result<Metrics, TrainError> {
        let report = trainer.report()?;
        let report = report.ok_or_else(|| TrainError::Run("a row without a step".into()))?;
        let images = (trainer.step - since.1) * trainer.config.training.batch_size as u64;
        let row = Metrics {
            step: trainer.step,
            loss: report.loss,
            grad_norm: report.grad_norm,
            learning_rate: report.learning_rate,
            images_per_second: images as f64 / since.0.elapsed().as_secs_f64(),
            device_bytes: gpu.memory().allocated,
            process_bytes: memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem as u64),
        };
        let path = self.metrics();
        let file = std::fs::OpenOptions::new().append(true).open(&path);
        file.and_then(|mut file| file.write_all(row.line().as_bytes())).map_err(|e| file_error(&path, e))?;
        *since = (Instant::now(), trainer.step);
        Ok(row)
    }

    /// Drops what was left half written, and the rows of steps that a run resumed from `step` will make again.
    fn tidy(&self, step: u64) -> Result<(), TrainError> {
        let path = self.metrics();
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Metrics::HEADER.into(),
            read => read.map_err(|e| file_error(&path, e))?,
        };
        let text = String::from_utf8_lossy(&text);
        if !text.is_empty() && !text.starts_with(Metrics::HEADER) {
            let path = path.display();
            let what =
                "it does not begin with the header that it was given; move it away to go on without its rows";
            return Err(TrainError::Run(format!("{path}: {what}")));
        }
        sweep(&self.folder);
        sweep(&self.checkpoints());
        let kept = text.lines().enumerate().filter(|(i, line)| {
            let made = line.split(',').next().and_then(|step| step.parse::<u64>().ok());
            // A row that a full disk cut off is none.
            let whole = line.split(',').count() == Metrics::HEADER.split(',').count();
            *i == 0 || whole && made.is_some_and(|made| made <= step)
        });
        let kept: String = kept.map(|(_, line)| format!("{line}\n")).collect();
        write_whole(&path, kept.as_bytes())
    }
}

impl Metrics {
    const HEADER: &str = "step,loss,grad_norm,learning_rate,images_per_second,device_bytes,process_bytes\n";

    fn line(&self) -> String {
        let Metrics { step, loss, grad_norm, learning_rate, images_per_second, device_bytes, process_bytes } =
            self;
        format!(
            "{step},{loss},{grad_norm},{learning_rate},{images_per_second:.2},{device_bytes},{process_bytes}\n"
        )
    }
}

/// The first key in which `a` differs from `b` that training's result depends on, with its value in `b`.
fn difference(a: &Config, b: &Config) -> Option<String> {
    let table = |config: &Config| {
        let mut config = config.clone();
        // What only says how long to train, and how often to look.
        config.training.n_iters = 0;
        config.training.snapshot_freq = 1;
        config.training.log_freq = 1;
        config.training.snapshot_sampling = false;
        config.sampling = Default::default();
        toml::Table::try_from(&config).unwrap_or_default()
    };
    let (a, b) = (table(a), table(b));
    let shown = |value: Option<&toml::Value>| value.map_or("nothing".into(), toml::Value::to_string);
    for (section, value) in &a {
        let other = b.get(section);
        match (value.as_table(), other.and_then(toml::Value::as_table)) {
            (Some(keys), Some(others)) => {
                let differs = |key: &&String| keys.get(*key) != others.get(*key);
                if let Some(key) = keys.keys().chain(others.keys()).find(differs) {
                    return Some(format!("{section}.{key} = {}", shown(others.get(key))));
                }
            }
            _ if other != Some(value) => return Some(format!("{section} = {}", shown(other))),
            _ => {}
        }
    }
    None
}

fn checkpoint_name(step: u64) -> String {
    format!("step-{step:08}.safetensors")
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    atomically(path, |aside| std::fs::write(aside, bytes)).map_err(|e| file_error(path, e))
}
