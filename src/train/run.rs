//! A run: the loop of training, and how it begins, goes on and ends.
//!
//! ```text
//! config.toml               the configuration, every key written out
//! metrics.csv               a row every `training.log_freq` steps and at every checkpoint
//! checkpoints/step-….safetensors, and latest, which names the newest
//! steps                     the number of steps in all, if it is another than `training.n_iters`
//! lock                      locked by the process that trains here
//! ```

use super::TrainError;
use super::checkpoint::Checkpoint;
use super::difference::difference;
use super::event::{Event, Skipped, Watch};
use super::folder::Lock;
use super::held_out::{HeldOut, HeldOutLoss};
use super::images::{Images, Sets, check_files, test_images};
use super::metrics::Metrics;
use super::trainer::{StepReport, Trainer};
use crate::config::{Config, Data, Training};
use crate::data::{self, Ahead, Fingerprint, Loader, Part, Source, Split, check_labels};
use crate::gpu::Gpu;
use crate::nn::{Architecture, Registry, ScoreModel, State};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
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

/// The start and the end of a training run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions<'a> {
    /// Resume from the newest whole checkpoint, or from the beginning if the run was stopped before its
    /// first.
    pub resume: bool,
    /// Replace a run in the folder, once the first step of the new one has run.
    pub overwrite: bool,
    /// Total number of steps instead of `training.n_iters`. The run remembers it until it is resumed with
    /// another of either.
    pub steps: Option<u64>,
    /// Stops the run when it is set: the step under way is finished, and a checkpoint is written.
    pub stop: Option<&'a AtomicBool>,
    /// Begin a new run with the averaged weights of another model, as far as its tensors have the names and
    /// shapes of this one's. The average and the optimiser begin anew, and the first checkpoint is that of
    /// step 0.
    pub init_from: Option<&'a Checkpoint>,
}

/// The end of a training run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All steps are made.
    Finished,
    /// [`RunOptions::stop`] was set, and a checkpoint of this many steps is written; none if no step was
    /// made.
    Stopped(u64),
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

    /// The newest checkpoint: the one that `latest` names or, where that is missing, the one with the highest
    /// number.
    ///
    /// # Errors
    /// [`TrainError::NoCheckpoint`].
    pub fn latest(&self) -> Result<PathBuf, TrainError> {
        let highest = || self.steps().first().map(|step| self.checkpoint(*step));
        let newest = self.named().or_else(highest);
        newest.ok_or_else(|| TrainError::NoCheckpoint { folder: self.folder.clone() })
    }

    /// The configuration of the run: `config.toml`, else that of its newest checkpoint.
    ///
    /// # Errors
    /// If the folder holds neither, or it cannot be read.
    pub fn recorded(&self) -> Result<Config, TrainError> {
        match crate::files::read_to_string(&self.config()) {
            Ok(text) => Ok(Config::from_toml(&text, &[])?),
            Err(_) => Ok(Checkpoint::read(&self.latest()?)?.config().clone()),
        }
    }

    /// Makes a run of an imported model, with one checkpoint: it can be sampled, and resumed. The
    /// configuration is written last, so that a run appears whole or not at all.
    ///
    /// # Errors
    /// [`TrainError::Exists`], or if the folder cannot be written.
    ///
    /// # Panics
    /// If the state is of another network than the registry.
    pub fn import(&self, config: &Config, registry: &Registry, state: &State) -> Result<PathBuf, TrainError> {
        let existed = self.folder.exists();
        let import = || -> Result<PathBuf, TrainError> {
            let _lock = self.create()?;
            let path = self.checkpoint(state.step);
            Checkpoint::write_state(state, registry, config, &path)?;
            self.point_to(state.step)?;
            self.describe(config)?;
            Ok(path)
        };
        if self.exists() {
            return Err(TrainError::Exists { folder: self.folder.clone() });
        }
        import().inspect_err(|error| {
            // The folder of another process stays.
            if !matches!(error, TrainError::Exists { .. } | TrainError::InUse { .. }) {
                let _ = self.clear();
                let _ = if existed { Ok(()) } else { std::fs::remove_dir_all(&self.folder) };
            }
        })
    }

    /// Trains the model of a configuration on the data that it names.
    ///
    /// # Errors
    /// Any error of [`Run::train_model`], and if the data cannot be read.
    pub fn train(
        &self,
        gpu: &Gpu,
        config: &Config,
        options: RunOptions<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<End, TrainError> {
        self.check(options)?;
        let source = data::open(&config.data, Split::Train)?;
        check_files(&config.data)?;
        let test = test_images(config)?;
        let images = Images { training: &*source, test: test.as_deref() };
        self.run(gpu, config, ScoreModel::build(config)?, images, options, watch)
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
        options: RunOptions<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<End, TrainError> {
        let config = Config { data: config.data.given(), ..config.clone() };
        let images = Images { training: source, test: None };
        self.run(gpu, &config, ScoreModel::build(&config)?, images, options, watch)
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
        options: RunOptions<'_>,
        watch: &mut Watch<'_, A>,
    ) -> Result<End, TrainError> {
        let config = Config { data: config.data.given(), model: config.model.given(), ..config.clone() };
        let images = Images { training: source, test: None };
        self.run(gpu, &config, model, images, options, watch)
    }

    /// Trains with the configuration as it is.
    fn run<A: Architecture>(
        &self,
        gpu: &Gpu,
        config: &Config,
        model: ScoreModel<A>,
        images: Images<'_>,
        options: RunOptions<'_>,
        watch: &mut Watch<'_, A>,
    ) -> Result<End, TrainError> {
        self.check(options)?;
        let data = Fingerprint::of(images.training)?;
        let [left, held] = Part::split(images.training, config.data.hold_out)?;
        let training: &dyn Source = if config.data.hold_out > 0 { &left } else { images.training };
        let sets = Sets { data, training, held_out: images.held_out(config, &held)? };
        std::thread::scope(|scope| self.run_with_loader(scope, gpu, config, model, sets, options, watch))
    }

    /// Trains while a thread of `scope` makes the batches.
    #[expect(clippy::too_many_arguments, reason = "they are those of `run`, and the scope of its thread")]
    fn run_with_loader<'scope, A: Architecture>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        gpu: &Gpu,
        config: &Config,
        model: ScoreModel<A>,
        sets: Sets<'scope>,
        options: RunOptions<'_>,
        watch: &mut Watch<'_, A>,
    ) -> Result<End, TrainError> {
        let remembered = if options.resume { self.remembered(config)? } else { None };
        let steps = options.steps.or(remembered).unwrap_or(config.training.n_iters);
        let training = Training { n_iters: steps, ..config.training.clone() };
        Config { training: training.clone(), ..config.clone() }.check()?;
        if config.model.num_classes > 0 {
            check_labels(sets.training, config.model.num_classes)?;
        }
        let loader = Loader::new(sets.training, &config.data, config.training.batch_size, config.seed)?;
        let mut skipped = Skipped::default();
        skipped.tell(sets.training, watch)?;
        let (mut trainer, mut lock) = match options.resume {
            true => self.reopen(gpu, config, model, &sets.data, watch)?,
            false => (Trainer::fresh(gpu, config, model)?, None),
        };
        trainer.data = Some(sets.data);
        let mut initial = None;
        if let Some(source) = options.init_from.filter(|_| !options.resume) {
            let (taken, others) = trainer.take_weights(source)?;
            watch(Event::Initialised { taken, others: &others })?;
            initial = Some(Checkpoint::bytes_of(&trainer, &self.checkpoint(0))?);
        }
        if steps < trainer.step {
            let (folder, made) = (self.folder.clone(), trainer.step);
            return Err(TrainError::Behind { folder, requested: steps, made });
        }
        if lock.is_some() {
            if let Some(what) = Metrics::keep_until(&self.metrics(), trainer.step)? {
                watch(Event::Rows { path: &self.metrics(), what: &what })?;
            }
            self.describe(config)?;
            self.remember(steps, config)?;
        }
        let parameters = trainer.scorer.model.registry.count();
        watch(Event::Start {
            step: trainer.step,
            steps,
            parameters,
            images: sets.training.len(),
            held_out: sets.held_out.as_ref().map_or(0, HeldOut::len),
            noise_levels: trainer.noise_levels(),
        })?;
        let mut since = (Instant::now(), trainer.step);
        let mut saved = Instant::now();
        let first = trainer.step;
        let step_of = |step: u64| u32::try_from(step).unwrap_or(u32::MAX);
        let ahead = Ahead::spawn(scope, loader, step_of(first)..step_of(steps));
        let stopped = || options.stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        while trainer.step < steps {
            if trainer.step == 0 && stopped() {
                return Ok(End::Stopped(0));
            }
            let batch = ahead.batch(trainer.draw()?.step)?;
            if let Some(parts) = trainer.step_within_memory(&batch)? {
                watch(Event::Divided(parts))?;
            }
            if lock.is_none() {
                // A configuration that cannot run has failed by now, and left no folder behind.
                gpu.synchronize()?;
                if options.overwrite && self.exists() {
                    // The old run stays where the new one diverges at once.
                    trainer.check_finite()?;
                    self.clear()?;
                }
                lock = Some(self.create()?);
                if let Some(bytes) = initial.take() {
                    self.save_initial(&bytes)?;
                }
                self.describe(config)?;
                self.remember(steps, config)?;
            }
            if trainer.step == first + 1 {
                let loss = trainer.loss()?;
                let images_per_second = config.training.batch_size as f64 / since.0.elapsed().as_secs_f64();
                watch(Event::First { loss, images_per_second })?;
            }
            watch(Event::Step(trainer.step))?;
            let stop = stopped();
            let save = stop || is_due(&training, trainer.step, saved);
            let evaluate = sets.held_out.as_ref().filter(|_| trainer.step.is_multiple_of(training.eval_freq));
            if (save || evaluate.is_some() || trainer.step.is_multiple_of(config.training.log_freq))
                && let Some(report) = trainer.report().map_err(|error| self.with_good(error))?
            {
                let row = self.log(gpu, &trainer, report, since, evaluate)?;
                since = (Instant::now(), trainer.step);
                watch(Event::Row(row))?;
                skipped.tell(sets.training, watch)?;
            }
            if save {
                let path = self.save(&trainer).map_err(|error| self.with_good(error))?;
                watch(Event::Saved { trainer: &trainer, path: &path })?;
                (since, saved) = ((Instant::now(), trainer.step), Instant::now());
            }
            if stop && trainer.step < steps {
                return Ok(End::Stopped(trainer.step));
            }
        }
        Ok(End::Finished)
    }

    /// Whether training may begin here, or go on.
    fn check(&self, options: RunOptions<'_>) -> Result<(), TrainError> {
        let folder = self.folder.clone();
        match (self.exists(), options.resume) {
            (true, false) if !options.overwrite => Err(TrainError::Exists { folder }),
            (false, true) => Err(TrainError::NothingToResume { folder }),
            _ if options.steps == Some(0) => Err(TrainError::NoSteps),
            _ => Ok(()),
        }
    }

    /// The trainer of the newest whole checkpoint, and the lock of the folder.
    fn reopen<A: Architecture>(
        &self,
        gpu: &Gpu,
        config: &Config,
        model: ScoreModel<A>,
        data: &Fingerprint,
        watch: &mut Watch<'_, A>,
    ) -> Result<(Trainer<A>, Option<Lock>), TrainError> {
        let lock = Some(self.lock()?);
        let mut damaged: Option<String> = None;
        for step in self.steps() {
            let path = self.checkpoint(step);
            let trainer = Checkpoint::read(&path).and_then(|checkpoint| {
                if checkpoint.step() != step {
                    let what = format!("it holds step {}, not that of its name", checkpoint.step());
                    return Err(TrainError::Damaged { path: path.display().to_string(), what });
                }
                self.check_same(config, data, &checkpoint)?;
                checkpoint.trainer_of(gpu, config, model.clone())
            });
            match trainer {
                Err(TrainError::Damaged { path: name, what }) => {
                    let aside = self.set_aside(&path)?;
                    watch(Event::SetAside { path: &aside, what: &what })?;
                    damaged = Some(format!("{name}: {what}"));
                }
                other => return Ok((other?, lock)),
            }
        }
        let folder = self.folder.clone();
        if let Some(fault) = damaged {
            let what = format!("no checkpoint of it is whole ({fault})");
            return Err(TrainError::NoWholeCheckpoint { folder, what });
        }
        let made = Metrics::last_step(&self.metrics())?;
        let begun = made > config.training.snapshot_freq || self.checkpoints().join("latest").exists();
        if begun || !self.checkpoints().is_dir() {
            let what = format!("it has made {made} steps, and its checkpoints are missing");
            return Err(TrainError::NoWholeCheckpoint { folder, what });
        }
        watch(Event::Anew)?;
        Ok((Trainer::fresh(gpu, config, model)?, lock))
    }

    /// Checks that a checkpoint was trained with the same configuration and on the same images.
    fn check_same(
        &self,
        config: &Config,
        data: &Fingerprint,
        checkpoint: &Checkpoint,
    ) -> Result<(), TrainError> {
        let folder = self.folder.clone();
        // Images are known by their contents, whatever their files are called. Older checkpoints do not
        // record them, and those that a program gives are the program's.
        let given = |config: &Config| config.data.dataset == Data::GIVEN;
        let named = checkpoint.data().is_none() || given(config) || given(checkpoint.config());
        if let Some((key, value)) = difference(config, checkpoint.config(), named) {
            return Err(TrainError::OtherConfig { folder, key, value });
        }
        match checkpoint.data() {
            Some(theirs) if theirs != data => {
                let (theirs, ours) = (Box::new(theirs.clone()), Box::new(data.clone()));
                Err(TrainError::OtherData { folder, theirs, ours })
            }
            _ => Ok(()),
        }
    }

    /// The error of a run that has diverged, with its newest checkpoint.
    fn with_good(&self, error: TrainError) -> TrainError {
        match error {
            TrainError::Diverged { step, what, .. } => {
                TrainError::Diverged { step, what, good: self.latest().ok() }
            }
            other => other,
        }
    }

    /// Appends a row to `metrics.csv`; `since` is the time and the step of the row before, and the loss on
    /// held-out images is evaluated if they are given.
    fn log<A: Architecture>(
        &self,
        gpu: &Gpu,
        trainer: &Trainer<A>,
        report: StepReport,
        since: (Instant, u64),
        held_out: Option<&HeldOut<'_>>,
    ) -> Result<Metrics, TrainError> {
        let images = (trainer.step - since.1) * trainer.config.training.batch_size as u64;
        let images_per_second = images as f64 / since.0.elapsed().as_secs_f64();
        let held_out = held_out.map(|images| images.loss(trainer)).transpose()?;
        let level = |i: usize| held_out.map(|HeldOutLoss { levels, .. }| levels[i]);
        let row = Metrics {
            step: trainer.step,
            loss: report.loss,
            grad_norm: report.grad_norm,
            learning_rate: report.learning_rate,
            // Two decimals in the file.
            images_per_second: (100.0 * images_per_second).round() / 100.0,
            device_bytes: gpu.memory().allocated,
            process_bytes: memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem as u64),
            held_out_loss: held_out.map(|loss| loss.mean),
            held_out_levels: std::array::from_fn(level),
        };
        row.append(&self.metrics())?;
        Ok(row)
    }
}

/// Returns true if a checkpoint is due after `step` steps; `saved` is the time of the last.
fn is_due(training: &Training, step: u64, saved: Instant) -> bool {
    let minutes = training.snapshot_minutes;
    step.is_multiple_of(training.snapshot_freq)
        || step == training.n_iters
        || minutes > 0.0 && saved.elapsed().as_secs_f64() >= 60.0 * minutes
}
