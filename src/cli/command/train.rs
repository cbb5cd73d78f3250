//! `tweedie train`.

use crate::cli::io::{Images, configuration, plot};
use crate::cli::progress::style;
use crate::cli::report::chain;
use crate::cli::{Common, note, paths, print};
use crate::config::Config;
use crate::gpu::{Bytes, Gpu, GpuError};
use crate::kernels::KernelError;
use crate::sample::{Draw, prior, sampler};
use crate::train::{Event, Metrics, Run, RunOptions, TrainError, Trainer};
use anyhow::{anyhow, ensure};
use indicatif::ProgressBar;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Train a model: writes a run folder with the configuration, metrics, checkpoints and samples.
///
/// An interrupted run continues with --resume, bit for bit as if it had not been interrupted.
///
/// With --json a line for every row of metrics.csv: `step`, `loss`, `grad_norm` before clipping, `learning_rate`,
/// `images_per_second`, `device_bytes` and `process_bytes`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie train configs/digits_ve.toml --out runs/digits\n  \
    tweedie train configs/digits_ve.toml --out runs/wide --set model.nf=64 --set optim.lr=1e-4\n  \
    tweedie train --out runs/digits --resume --steps 5000")]
pub struct Args {
    /// The configuration; with --resume, by default the run's own
    config: Option<PathBuf>,
    /// The same
    #[arg(long = "config", value_name = "CONFIG", conflicts_with = "config")]
    config_file: Option<PathBuf>,
    /// The run folder
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Continue from the run's newest checkpoint
    #[arg(long)]
    resume: bool,
    /// The number of steps in all, instead of training.n_iters
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
    let options = RunOptions { resume: args.resume, steps: args.steps };
    let result = run.train(&gpu, &config, options, &mut |event| watcher.see(event));
    watcher.bar.finish();
    result.map_err(with_flags)?;
    watcher.say(format!("trained: {}", args.out.display()));
    Ok(())
}

/// An error of a run, with the option that mends it.
fn with_flags(error: TrainError) -> anyhow::Error {
    let shown = |folder: &PathBuf| folder.display().to_string();
    let (what, option) = match &error {
        TrainError::Exists { folder } => (
            format!("{} holds a run already", shown(folder)),
            "add --resume to continue it, or choose another --out",
        ),
        TrainError::NothingToResume { .. } => (error.to_string(), "leave --resume out"),
        TrainError::OtherConfig { folder, key, value } => (
            format!("{} was started with {key} = {value}", shown(folder)),
            "resume with that value, or choose another --out",
        ),
        TrainError::Behind { folder, requested, made } => (
            format!("--steps {requested}: {} has made {made} steps already", shown(folder)),
            "choose a larger number, or another --out",
        ),
        TrainError::NoSteps => ("--steps 0".into(), "it must be at least 1"),
        TrainError::Kernel(KernelError::Gpu(GpuError::Lost(_))) => {
            (error.to_string(), "training continues from its last checkpoint with --resume")
        }
        TrainError::Diverged(_) => (error.to_string(), "choose another --out for that"),
        _ => return error.into(),
    };
    anyhow!("{what}; {option}")
}

fn configured(args: &Args) -> anyhow::Result<Config> {
    let path = match (args.config.as_ref().or(args.config_file.as_ref()), args.resume) {
        (Some(path), _) => path.clone(),
        (None, true) => {
            let path = args.out.join("config.toml");
            let folder = args.out.display();
            ensure!(
                path.exists(),
                "{folder} holds no run to resume; leave --resume out, and give a configuration"
            );
            path
        }
        (None, false) => anyhow::bail!("give a configuration, for example configs/digits_ve.toml"),
    };
    let mut set = args.set.clone();
    set.extend(args.seed.map(|seed| format!("seed={seed}")));
    configuration::read(&path, &set)
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
}

/// The shortest time between two lines where there is no terminal.
const QUIET: Duration = Duration::from_secs(5);

impl<'a> Watcher<'a> {
    fn new(json: bool, gpu: &'a Gpu, run: &'a Run) -> Self {
        let terminal = std::io::stderr().is_terminal() && !json;
        let bar = ProgressBar::hidden();
        Watcher { gpu, run, json, bar, terminal, first: 0, steps: 0, started: Instant::now(), spoken: None }
    }

    fn see(&mut self, event: Event<'_>) -> Result<(), TrainError> {
        match event {
            Event::Start { step, steps } => self.start(step, steps),
            Event::First { loss, images_per_second } => {
                // The remaining time does not depend on the time of compilation.
                self.bar.set_style(style("{bar:30} {pos}/{len} {msg} ETA {eta}"));
                self.bar.set_message(shown(loss, images_per_second));
                self.bar.reset_eta();
            }
            Event::Step(step) => self.bar.set_position(step),
            Event::Row(row) => self.row(row),
            Event::Saved { trainer, path } => self.saved(trainer, path)?,
        }
        Ok(())
    }

    fn start(&mut self, step: u64, steps: u64) {
        (self.first, self.steps) = (step, steps);
        self.started = Instant::now();
        let adapter = self.gpu.adapter();
        let from = if step > 0 { format!(" from step {step}") } else { String::new() };
        self.say(format!("training{from} to step {steps} on {} ({})", adapter.name(), adapter.backend()));
        if self.terminal {
            self.bar = ProgressBar::new(steps).with_style(style("{bar:30} {pos}/{len} {msg}"));
            self.bar.set_position(step);
            self.bar.set_message("compiling the kernels");
        }
    }

    fn row(&mut self, row: Metrics) {
        let shown = shown(row.loss, row.images_per_second);
        self.bar.set_message(shown.clone());
        if self.json {
            let memory = Bytes(row.device_bytes).0;
            // Training continues if standard output is closed.
            let _ = print(serde_json::json!({
                "step": row.step, "loss": row.loss, "grad_norm": row.grad_norm,
                "learning_rate": row.learning_rate, "images_per_second": row.images_per_second,
                "device_bytes": memory, "process_bytes": row.process_bytes,
            }));
        } else if !self.terminal && self.spoken.is_none_or(|spoken| spoken.elapsed() > QUIET) {
            self.spoken = Some(Instant::now());
            let made = row.step.saturating_sub(self.first).max(1);
            let left = self.started.elapsed().as_secs_f64() / made as f64 * (self.steps - row.step) as f64;
            note(format!("step {}/{} {shown} ETA {left:.0}s", row.step, self.steps));
        }
    }

    fn saved(&mut self, trainer: &Trainer, path: &Path) -> Result<(), TrainError> {
        let run_error = |e: anyhow::Error| TrainError::Watch(chain(&e).into());
        plot::loss(&self.run.metrics(), &self.run.folder().join("loss.png")).map_err(run_error)?;
        if trainer.config.training.snapshot_sampling && !trainer.config.is_classifier() {
            let image = self.run.folder().join("samples").join(format!("step-{:08}.png", trainer.step));
            snapshot(trainer, &image).map_err(run_error)?;
        }
        if self.terminal {
            self.bar.println(format!("wrote {}", path.display()));
        }
        Ok(())
    }

    fn say(&self, line: String) {
        if !self.json {
            note(line);
        }
    }
}

fn shown(loss: f64, images_per_second: f64) -> String {
    format!("loss {loss:.4} {images_per_second:.0} images/s")
}

/// The number of samples drawn with every checkpoint, always the same ones.
const SNAPSHOT: usize = 16;

fn snapshot(trainer: &Trainer, path: &Path) -> anyhow::Result<()> {
    let config = &trainer.config;
    let scorer = trainer.averaged();
    let sampler = sampler(&config.sampling, config.sampling_steps())?;
    let shape = trainer.batch_shape().with_n(SNAPSHOT);
    let draw = Draw::new(config.seed);
    let sampled = sampler.run(&scorer, prior(&scorer, shape, draw)?, draw, &mut |_| Ok(()))?;
    let images = Images::new(shape, sampled.x.read()?, config.data.range());
    images.write_grid(path)
}
