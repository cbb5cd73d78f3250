//! `tweedie train`.

use crate::cli::io::{Images, configuration, plot};
use crate::cli::progress::{QUIET, style};
use crate::cli::report::{chain, is_quiet, say};
use crate::cli::stop::Stop;
use crate::cli::{Common, note, paths, print};
use crate::config::Config;
use crate::data::Kind;
use crate::gpu::{Bytes, Gpu, GpuError};
use crate::kernels::KernelError;
use crate::sample::{Draw, Progress, SampleError, prior, sampler};
use crate::train::{End, Event, Metrics, Run, RunOptions, TrainError, Trainer};
use anyhow::{Context, anyhow, ensure};
use indicatif::ProgressBar;
use std::borrow::Cow;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Train a model: writes a run folder with the configuration, metrics and checkpoints.
///
/// An interrupted run continues with --resume, bit for bit as if it had not been interrupted.
///
/// With --json a line for every row of metrics.csv: `step`, `loss`, `grad_norm` before clipping, `learning_rate`,
/// `images_per_second`, `device_bytes` and `process_bytes`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie train digits_ve --out runs/digits\n  \
    tweedie train digits_ve --out runs/wide --set model.nf=64 --set optim.lr=1e-4\n  \
    tweedie train --out runs/digits --resume --steps 5000")]
pub struct Args {
    /// The configuration: a TOML file, or one of `tweedie configs`; with --resume, by default the run's own
    config: Option<PathBuf>,
    /// The configuration, as an option
    #[arg(long = "config", value_name = "CONFIG", conflicts_with = "config")]
    config_file: Option<PathBuf>,
    /// The training images instead of the configuration's: an IDX file, MNIST's or CIFAR-10's folder, F.npy, F.npz, or pictures in
    /// a folder or F.zip; of a model of points F.csv, or an array [n, 2]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// The run folder
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Continue from the run's newest checkpoint that is whole
    #[arg(long)]
    resume: bool,
    /// Replace a run in the folder, once the first step of the new one has run
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// The number of steps in all, instead of training.n_iters; the run remembers it
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Set a key of the configuration, for example model.nf=64; may be repeated
    #[arg(long, value_name = "section.key=value")]
    set: Vec<String>,
    /// Set the seed
    #[arg(long)]
    seed: Option<u64>,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let config = configured(args)?;
    let out = &args.out;
    ensure!(out.is_dir() || !out.exists(), "{} is a file; choose another --out", out.display());
    paths::writable(&out.join("config.toml"))?;
    let gpu = common.open()?;
    let run = Run::at(&args.out);
    let mut watcher = Watcher::new(common.json, &gpu, &run);
    let stop = Stop::on_signals()?;
    let (resume, overwrite, steps) = (args.resume, args.overwrite, args.steps);
    let options = RunOptions { resume, overwrite, steps, stop: Some(stop.flag()) };
    let result = run.train(&gpu, &config, options, &mut |event| watcher.see(event));
    watcher.bar.finish();
    match result.map_err(|error| with_flags(error, &run))? {
        End::Finished if watcher.first == watcher.steps => say(format!(
            "{} has made all of its {} steps; --steps N goes on to step N",
            out.display(),
            watcher.steps
        )),
        End::Finished => say(format!("trained: {}, {}", out.display(), watcher.last)),
        End::Stopped(0) => return Err(stop.stopped("before the first step; nothing is written".into())),
        End::Stopped(step) => {
            let resume = format!("continue with `tweedie train --out {} --resume`", out.display());
            return Err(stop.stopped(format!("at step {step}, which is saved; {resume}")));
        }
    }
    Ok(())
}

/// An error of a run, with the option that mends it.
fn with_flags(error: TrainError, run: &Run) -> anyhow::Error {
    let shown = |folder: &PathBuf| folder.display().to_string();
    let (what, option): (_, Cow<'_, str>) = match &error {
        TrainError::Exists { folder } => (
            format!("{} holds a run already", shown(folder)),
            "add --resume to continue it, --overwrite to replace it, or choose another --out".into(),
        ),
        TrainError::NothingToResume { .. } => (error.to_string(), "leave --resume out".into()),
        TrainError::OtherConfig { folder, key, value }
            if ["model.", "data."].iter().any(|s| key.starts_with(s)) =>
        {
            (
                format!("{} was started with {key} = {value}", shown(folder)),
                "resume with that value, or choose another --out for a new run".into(),
            )
        }
        TrainError::OtherConfig { folder, key, value } => {
            let newest = run.latest().map_or("CHECKPOINT".into(), |path| path.display().to_string());
            (
                format!("{} was started with {key} = {value}", shown(folder)),
                format!(
                    "resume with that value, or go on from its weights in another folder: `tweedie convert {newest} NEW \
                     --set {key}=…`, then `tweedie train --out NEW --resume`"
                )
                .into(),
            )
        }
        TrainError::Behind { folder, requested, made } => (
            format!("--steps {requested}: {} has made {made} steps already", shown(folder)),
            "choose a larger number, or another --out".into(),
        ),
        TrainError::NoSteps => ("--steps 0".into(), "it must be at least 1".into()),
        TrainError::Kernel(KernelError::Gpu(GpuError::Lost(_))) => {
            (error.to_string(), "training continues from its last checkpoint with --resume".into())
        }
        TrainError::Diverged { .. } => (error.to_string(), "choose another --out for that".into()),
        _ => return error.into(),
    };
    anyhow!("{what}; {option}")
}

fn configured(args: &Args) -> anyhow::Result<Config> {
    let path = match (args.config.as_ref().or(args.config_file.as_ref()), args.resume) {
        (Some(path), _) => path.clone(),
        (None, true) if args.out.join("config.toml").exists() => args.out.join("config.toml"),
        (None, true) => return recorded(args),
        (None, false) => anyhow::bail!(
            "give a configuration, for example digits_ve (`tweedie configs` lists those in the program)"
        ),
    };
    configuration::read(&path, &assignments(args)?)
}

/// The keys that options set.
fn assignments(args: &Args) -> anyhow::Result<Vec<String>> {
    let seed = args.seed.map(|seed| format!("seed={seed}"));
    let mut all: Vec<String> = args.set.iter().cloned().chain(seed).collect();
    if let Some(path) = &args.data {
        let text =
            path.to_str().with_context(|| format!("--data {}: the path is not UTF-8", path.display()))?;
        all.push(format!("data.dataset={}", Kind::of(path)?));
        all.push(format!("data.path={}", toml::Value::from(text)));
    }
    Ok(all)
}

/// The configuration of a run whose config.toml is missing.
fn recorded(args: &Args) -> anyhow::Result<Config> {
    let config = Run::at(&args.out).recorded().map_err(|error| match error {
        TrainError::NoCheckpoint { folder } => anyhow!(
            "{} holds neither config.toml nor a checkpoint, so there is no run to resume; to start one, give a \
             configuration instead of --resume",
            folder.display()
        ),
        other => other.into(),
    })?;
    Ok(config.with(&assignments(args)?)?)
}

/// Shows the progress of training: a bar on a terminal, occasional lines elsewhere, JSON lines with --json.
struct Watcher<'a> {
    gpu: &'a Gpu,
    run: &'a Run,
    json: bool,
    bar: ProgressBar,
    terminal: bool,
    first: u64,
    steps: u64,
    started: Instant,
    spoken: Option<Instant>,
    /// When the last pictures were drawn.
    drawn: Instant,
    /// The last row, for people.
    last: String,
    /// A row could not be printed, and that was said.
    unprinted: bool,
}

/// The samples of a checkpoint may take as long as the training since the last one, and at least this.
const SHORTEST_BUDGET: Duration = Duration::from_secs(60);

impl<'a> Watcher<'a> {
    fn new(json: bool, gpu: &'a Gpu, run: &'a Run) -> Self {
        let terminal = std::io::stderr().is_terminal() && !is_quiet();
        let bar = ProgressBar::hidden();
        let (started, drawn) = (Instant::now(), Instant::now());
        let (last, unprinted) = (String::new(), false);
        Watcher {
            gpu,
            run,
            json,
            bar,
            terminal,
            first: 0,
            steps: 0,
            started,
            spoken: None,
            drawn,
            last,
            unprinted,
        }
    }

    fn see(&mut self, event: Event<'_>) -> Result<(), TrainError> {
        match event {
            Event::SetAside { path, what } => {
                note(format!("a checkpoint was left out: {what}; it is now {}", path.display()));
            }
            Event::Rows { path, what } => note(format!("{}: {what}", path.display())),
            Event::Anew => note("the run was stopped before its first checkpoint; it begins again at step 0"),
            Event::Skipped(skipped) => {
                let (some, more) =
                    (skipped[..skipped.len().min(3)].join(", "), skipped.len().saturating_sub(3));
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                note(format!("left out of the data: {some}{more}"));
            }
            Event::Start { step, steps, parameters, images } => {
                self.start(step, steps, &format!("{parameters} parameters on {images} images"));
            }
            Event::First { loss, images_per_second } => {
                // The remaining time does not depend on the time of compilation.
                self.bar.set_style(style("{bar:30} {pos}/{len} {msg} ETA {eta}"));
                self.bar.set_message(shown(loss, images_per_second));
                self.bar.reset_eta();
            }
            Event::Step(step) => self.bar.set_position(step),
            Event::Row(row) => self.row(row),
            Event::Saved { trainer, path } => self.saved(trainer, path),
        }
        Ok(())
    }

    fn start(&mut self, step: u64, steps: u64, what: &str) {
        (self.first, self.steps) = (step, steps);
        self.started = Instant::now();
        let adapter = self.gpu.adapter();
        let from = if step > 0 { format!(" from step {step}") } else { String::new() };
        let device = format!("{} ({})", adapter.name(), adapter.backend());
        say(format!("training{from} to step {steps}: {what}, {device}; compiling the kernels"));
        if self.terminal {
            self.bar = ProgressBar::new(steps).with_style(style("{bar:30} {pos}/{len} {msg}"));
            self.bar.set_position(step);
            self.bar.set_message("compiling the kernels");
        }
    }

    fn row(&mut self, row: Metrics) {
        let shown = shown(row.loss, row.images_per_second);
        self.last = format!("step {}, loss {:.4}", row.step, row.loss);
        self.bar.set_message(shown.clone());
        if self.json {
            let memory = Bytes(row.device_bytes).0;
            let printed = print(serde_json::json!({
                "step": row.step, "loss": row.loss, "grad_norm": row.grad_norm,
                "learning_rate": row.learning_rate, "images_per_second": row.images_per_second,
                "device_bytes": memory, "process_bytes": row.process_bytes,
            }));
            // Training continues if standard output is closed or full.
            if let Err(error) = printed
                && !std::mem::replace(&mut self.unprinted, true)
            {
                note(format!("warning: rows cannot be printed: {}; training continues", chain(&error)));
            }
        } else if !self.terminal && self.spoken.is_none_or(|spoken| spoken.elapsed() > QUIET) {
            self.spoken = Some(Instant::now());
            let made = row.step.saturating_sub(self.first).max(1);
            let left = self.started.elapsed().as_secs_f64() / made as f64 * (self.steps - row.step) as f64;
            say(format!("step {}/{} {shown} ETA {left:.0}s", row.step, self.steps));
        }
    }

    /// Draws the pictures of a checkpoint. Training continues without those that fail.
    fn saved(&mut self, trainer: &Trainer, path: &Path) {
        let budget = SHORTEST_BUDGET.max(self.drawn.elapsed());
        let warn = |e: anyhow::Error| note(format!("warning: {}; training continues", chain(&e)));
        plot::loss(&self.run.metrics(), &self.run.folder().join("loss.png")).unwrap_or_else(warn);
        if trainer.config.training.snapshot_sampling && !trainer.config.is_classifier() {
            let image = self.run.folder().join("samples").join(format!("step-{:08}.png", trainer.step));
            snapshot(trainer, &image, budget).context("no samples are drawn").unwrap_or_else(warn);
        }
        self.drawn = Instant::now();
        if self.terminal {
            self.bar.println(format!("wrote {}", path.display()));
        }
    }
}

fn shown(loss: f64, images_per_second: f64) -> String {
    format!("loss {loss:.4} {images_per_second:.0} images/s")
}

/// The number of samples drawn with every checkpoint, always the same ones.
const SNAPSHOT: usize = 16;
const SNAPSHOT_POINTS: usize = 2000;

fn snapshot(trainer: &Trainer, path: &Path, budget: Duration) -> anyhow::Result<()> {
    let started = Instant::now();
    let config = &trainer.config;
    let scorer = trainer.averaged();
    let sampler = sampler(&config.sampling, config.sampling_steps())?;
    let n = if config.data.is_points() { SNAPSHOT_POINTS } else { SNAPSHOT };
    let shape = trainer.batch_shape().with_n(n);
    let draw = Draw::new(config.seed);
    let mut watch = |_: Progress<'_>| match started.elapsed() > budget {
        true => Err(SampleError::Refused(format!("the sampler takes longer than {} s", budget.as_secs()))),
        false => Ok(()),
    };
    let sampled = sampler.run(&scorer, prior(&scorer, shape, draw)?, draw, &mut watch)?;
    let images = Images::new(shape, sampled.x.read()?, config.data.range());
    images.write(path, 0)
}
