//! The run folder, and the loop that fills it.
//!
//! ```text
//! config.toml               the configuration, every key written out
//! metrics.csv               a row every `training.log_freq` steps and at every checkpoint
//! checkpoints/step-….safetensors, and latest, which names the newest
//! ```

use super::checkpoint::Checkpoint;
use super::trainer::{StepReport, Trainer};
use super::{TrainError, file_error};
use crate::config::Config;
use crate::data::{Dataset, Loader, Source, Split, check_labels};
use crate::files::{atomically, sweep};
use crate::gpu::Gpu;
use crate::nn::{Architecture, BuiltIn, Registry, ScoreModel, State};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A run folder.
///
/// ```no_run
/// use tweedie::config::Config;
/// use tweedie::gpu::Gpu;
/// use tweedie::train::{Event, Run, RunOptions};
///
/// let gpu = Gpu::open(None)?;
/// let config = Config::preset("digits_ve")?;
/// Run::at("runs/digits").train(&gpu, &config, RunOptions::default(), &mut |event| {
///     if let Event::Row(row) = event {
///         println!("step {}: loss {}", row.step, row.loss);
///     }
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    folder: PathBuf,
}

/// The length and the start of a training run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Resume from the newest checkpoint, or from the beginning if the run was stopped before its first.
    pub resume: bool,
    /// Total number of steps, instead of `training.n_iters`.
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
    /// Images per second since the last row.
    pub images_per_second: f64,
    /// Bytes allocated on the device.
    pub device_bytes: u64,
    /// Resident memory of this process in bytes.
    pub process_bytes: u64,
}

/// An event of the training loop.
pub enum Event<'a, A = BuiltIn> {
    /// The loop begins.
    Start {
        /// Steps made before.
        step: u64,
        /// Total number of steps.
        steps: u64,
    },
    /// The first step since the start has run.
    First {
        /// Its loss.
        loss: f64,
        /// Images per second, including the time to compile the kernels.
        images_per_second: f64,
    },
    /// A step has been submitted to the device; the total number of steps made.
    Step(u64),
    /// A row has been written.
    Row(Metrics),
    /// A checkpoint has been written.
    Saved {
        /// The trainer, for example to draw samples.
        trainer: &'a Trainer<A>,
        /// The file.
        path: &'a Path,
    },
}

/// A function that sees every event; its error stops training.
pub type Watch<'a, A = BuiltIn> = dyn FnMut(Event<'_, A>) -> Result<(), TrainError> + 'a;

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

    /// The newest checkpoint: the one that `latest` names or, where that is missing, the one with the highest
    /// number. Checkpoints are renamed into place, so each is whole.
    ///
    /// # Errors
    /// [`TrainError::NoCheckpoint`].
    pub fn latest(&self) -> Result<PathBuf, TrainError> {
        let named = std::fs::read_to_string(self.checkpoints().join("latest"));
        let named = named.ok().map(|name| self.checkpoints().join(name.trim())).filter(|path| path.is_file());
        let all =
            std::fs::read_dir(self.checkpoints()).into_iter().flatten().flatten().map(|file| file.path());
        let steps = all.filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("step-") && name.ends_with(".safetensors")
        });
        named.or_else(|| steps.max()).ok_or_else(|| TrainError::NoCheckpoint { folder: self.folder.clone() })
    }

    /// Makes a run of an imported model, with one checkpoint: it can be sampled, and resumed.
    ///
    /// # Errors
    /// [`TrainError::Exists`], or if the folder cannot be written.
    ///
    /// # Panics
    /// If the state is of another network than the registry.
    pub fn import(&self, config: &Config, registry: &Registry, state: &State) -> Result<PathBuf, TrainError> {
        if self.exists() {
            return Err(TrainError::Exists { folder: self.folder.clone() });
        }
        self.create(config)?;
        let name = checkpoint_name(state.step);
        let path = self.checkpoints().join(&name);
        Checkpoint::write_state(state, registry, config, &path)?;
        write_whole(&self.checkpoints().join("latest"), name.as_bytes())?;
        Ok(path)
    }

    /// Trains the model of a configuration on the data that it names.
    ///
    /// # Errors
    /// Any error of [`Run::train_model`], and if the data cannot be read.
    pub fn train(
        &self,
        gpu: &Gpu,
        config: &Config,
        options: RunOptions,
        watch: &mut Watch<'_>,
    ) -> Result<(), TrainError> {
        self.check(options)?;
        let set = Dataset::load(&config.data, Split::Train)?;
        self.run(gpu, config, ScoreModel::build(config)?, &set, options, watch)
    }

    /// Trains the model of a configuration on images that the program gives. The run's configuration then has
    /// `data.dataset = given` ([`Data::GIVEN`](crate::config::Data::GIVEN)) and names no files.
    ///
    /// # Errors
    /// Any error of [`Run::train_model`].
    pub fn train_on(
        &self,
        gpu: &Gpu,
        config: &Config,
        source: &dyn Source,
        options: RunOptions,
        watch: &mut Watch<'_>,
    ) -> Result<(), TrainError> {
        let config = Config { data: config.data.given(), ..config.clone() };
        self.run(gpu, &config, ScoreModel::build(&config)?, source, options, watch)
    }

    /// Trains a model that the program gives, such as a network or a process of its own, on images that it
    /// gives. The run's configuration then has `model.name = given`, too, and its checkpoints are opened with
    /// [`Checkpoint::scorer_of`]. `watch` sees every event.
    ///
    /// # Errors
    /// [`TrainError::Exists`] or [`TrainError::NothingToResume`] if the folder and `options.resume` do not
    /// agree, [`TrainError::OtherConfig`] if a run is resumed with another configuration or from other data,
    /// [`TrainError::Diverged`], the errors of `watch`, and those of files and the device. The last
    /// checkpoint is whole then.
    pub fn train_model<A: Architecture>(
        &self,
        gpu: &Gpu,
        config: &Config,
        model: ScoreModel<A>,
        source: &dyn Source,
        options: RunOptions,
        watch: &mut Watch<'_, A>,
    ) -> Result<(), TrainError> {
        let config = Config { data: config.data.given(), model: config.model.given(), ..config.clone() };
        self.run(gpu, &config, model, source, options, watch)
    }

    /// Trains with the configuration as it is.
    fn run<A: Architecture>(
        &self,
        gpu: &Gpu,
        config: &Config,
        model: ScoreModel<A>,
        source: &dyn Source,
        options: RunOptions,
        watch: &mut Watch<'_, A>,
    ) -> Result<(), TrainError> {
        self.check(options)?;
        if config.model.num_classes > 0 {
            check_labels(source, config.model.num_classes)?;
        }
        let mut loader = Loader::new(source, &config.data, config.training.batch_size, config.seed)?;
        let newest = options.resume.then(|| self.latest().ok()).flatten();
        let mut trainer = match newest {
            Some(path) => self.reopen(gpu, config, model, &path)?,
            None => Trainer::fresh(gpu, config, model)?,
        };
        let steps = options.steps.unwrap_or(config.training.n_iters);
        if let Some(requested) = options.steps.filter(|steps| *steps < trainer.step) {
            let (folder, made) = (self.folder.clone(), trainer.step);
            return Err(TrainError::Behind { folder, requested, made });
        }
        if trainer.step > 0 {
            self.tidy(trainer.step)?;
        }
        watch(Event::Start { step: trainer.step, steps })?;
        let mut since = (Instant::now(), trainer.step);
        let first = trainer.step;
        while trainer.step < steps {
            let batch = loader.batch(trainer.draw()?.step)?;
            trainer.step(&batch)?;
            if trainer.step == 1 {
                // A configuration that cannot run has failed by now, and left no folder behind.
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
            if (save || trainer.step % config.training.log_freq == 0)
                && let Some(report) = trainer.report()?
            {
                let row = self.log(gpu, &trainer, report, since)?;
                since = (Instant::now(), trainer.step);
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
        let folder = self.folder.clone();
        match (self.exists(), options.resume) {
            (true, false) => Err(TrainError::Exists { folder }),
            (false, true) => Err(TrainError::NothingToResume { folder }),
            _ if options.steps == Some(0) => Err(TrainError::NoSteps),
            _ => Ok(()),
        }
    }

    fn exists(&self) -> bool {
        self.folder.join("config.toml").exists()
    }

    /// Makes the folder, with the configuration and no row yet.
    fn create(&self, config: &Config) -> Result<(), TrainError> {
        let checkpoints = self.checkpoints();
        std::fs::create_dir_all(&checkpoints).map_err(|e| file_error(&checkpoints, e))?;
        let text = config.to_toml();
        write_whole(&self.folder.join("config.toml"), text.as_bytes())?;
        write_whole(&self.metrics(), Metrics::HEADER.as_bytes())
    }

    fn reopen<A: Architecture>(
        &self,
        gpu: &Gpu,
        config: &Config,
        model: ScoreModel<A>,
        newest: &Path,
    ) -> Result<Trainer<A>, TrainError> {
        let checkpoint = Checkpoint::read(newest).map_err(|error| match error {
            TrainError::Checkpoint { what, .. } => TrainError::Newest { path: newest.to_path_buf(), what },
            other => other,
        })?;
        if let Some((key, value)) = difference(config, checkpoint.config()) {
            return Err(TrainError::OtherConfig { folder: self.folder.clone(), key, value });
        }
        checkpoint.trainer_of(gpu, config, model)
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    fn save<A: Architecture>(&self, trainer: &Trainer<A>) -> Result<PathBuf, TrainError> {
        let name = checkpoint_name(trainer.step);
        let path = self.checkpoints().join(&name);
        Checkpoint::write(trainer, &path)?;
        write_whole(&self.checkpoints().join("latest"), name.as_bytes())?;
        Ok(path)
    }

    /// Appends a row to `metrics.csv`; `since` is the time and the step of the row before.
    fn log<A>(
        &self,
        gpu: &Gpu,
        trainer: &Trainer<A>,
        report: StepReport,
        since: (Instant, u64),
    ) -> Result<Metrics, TrainError> {
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
        Ok(row)
    }

    /// Removes half-written files, and the rows of steps that a run resumed from `step` will make again.
    fn tidy(&self, step: u64) -> Result<(), TrainError> {
        let path = self.metrics();
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Metrics::HEADER.into(),
            read => read.map_err(|e| file_error(&path, e))?,
        };
        let text = String::from_utf8_lossy(&text);
        if !text.is_empty() && !text.starts_with(Metrics::HEADER) {
            return Err(TrainError::Rows { path });
        }
        sweep(&self.folder);
        sweep(&self.checkpoints());
        let kept = text.lines().enumerate().filter(|(i, line)| {
            let made = line.split(',').next().and_then(|step| step.parse::<u64>().ok());
            // A full disk may have cut a row off.
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

/// The first key in which `a` differs from `b` and that the trained weights depend on, with its value in `b`
/// as TOML.
fn difference(a: &Config, b: &Config) -> Option<(String, String)> {
    let table = |config: &Config| {
        let mut config = config.clone();
        // The weights after a step do not depend on these.
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
                    return Some((format!("{section}.{key}"), shown(others.get(key))));
                }
            }
            _ if other != Some(value) => return Some((section.clone(), shown(other))),
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
