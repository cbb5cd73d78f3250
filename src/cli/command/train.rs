//! `tweedie train`.

mod dry_run;

use crate::cli::io::configuration;
use crate::cli::report::say;
use crate::cli::stop::Stop;
use crate::cli::training::Watcher;
use crate::cli::{Common, open_model, paths};
use crate::config::Config;
use crate::data::Kind;
use crate::gpu::GpuError;
use crate::kernels::KernelError;
use crate::train::{End, Run, RunOptions, TrainError};
use anyhow::{Context, anyhow, ensure};
use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Train a model: writes a run folder with the configuration, metrics and checkpoints.
///
/// An interrupted run continues with --resume, bit for bit as if it had not been interrupted.
///
/// With --json a line for every row of metrics.csv: `step`, `loss`, `grad_norm` before clipping, `learning_rate`,
/// `images_per_second`, `device_bytes` and `process_bytes`, and where training.eval_freq evaluates them `held_out_loss` and
/// `held_out_levels`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie train digits_ve --out runs/digits\n  \
    tweedie train digits_ve --dry-run --set model.nf=64\n  \
    tweedie train digits_ve --out runs/wide --set model.nf=64 --set optim.lr=1e-4\n  \
    tweedie train --out runs/digits --resume --steps 5000\n  \
    tweedie train digits_ve --out runs/tuned --init-from runs/digits --set optim.schedule=cosine")]
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
    /// The run folder [default: runs/NUMBER-NAME, with the next number and the configuration's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue from the run's newest checkpoint that is whole
    #[arg(long, requires = "out")]
    resume: bool,
    /// Print the number of parameters, the memory and the time of the run after a few steps, and keep nothing
    #[arg(long, conflicts_with_all = ["resume", "overwrite", "init_from"])]
    dry_run: bool,
    /// Replace a run in the folder, once the first step of the new one has run
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Begin with the averaged weights of another model, as far as names and shapes of tensors agree
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    init_from: Option<PathBuf>,
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
    if args.dry_run {
        return dry_run::run(common, &config, args.steps.unwrap_or(config.training.n_iters));
    }
    let out = &args.out.clone().map_or_else(|| numbered(args), Ok)?;
    ensure!(out.is_dir() || !out.exists(), "{} is a file; choose another --out", out.display());
    paths::writable(&out.join("config.toml"))?;
    let initial = args.init_from.as_deref().map(open_model).transpose()?;
    let gpu = common.open()?;
    let run = Run::at(out);
    let mut watcher =
        Watcher::new(common.json, &gpu, &run, config.optim.schedule_end(config.training.n_iters));
    let stop = Stop::on_signals()?;
    let (resume, overwrite, steps) = (args.resume, args.overwrite, args.steps);
    let (stop_flag, init_from) = (Some(stop.flag()), initial.as_ref());
    let options = RunOptions { resume, overwrite, steps, stop: stop_flag, init_from };
    let result = run.train(&gpu, &config, options, &mut |event| watcher.see(event));
    watcher.finish();
    match result.map_err(|error| with_flags(error, &run))? {
        End::Finished => say(match watcher.last() {
            Some(last) => format!("trained: {}, {last}", out.display()),
            None => format!("{} has made all of its steps; --steps N goes on to step N", out.display()),
        }),
        End::Stopped(0) => return Err(stop.stopped("before the first step; nothing is written".into())),
        End::Stopped(step) => {
            let resume = format!("continue with `tweedie train --out {} --resume`", out.display());
            return Err(stop.stopped(format!("at step {step}, which is saved; {resume}")));
        }
    }
    Ok(())
}

impl Args {
    /// The configuration, if it is named.
    fn given(&self) -> Option<&PathBuf> {
        self.config.as_ref().or(self.config_file.as_ref())
    }
}

/// The folder of a run that is not named: the next number in `runs`, and the configuration's name.
fn numbered(args: &Args) -> anyhow::Result<PathBuf> {
    let runs = Path::new("runs");
    let names = std::fs::read_dir(runs).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let number = |name: &OsString| name.to_str()?.split_once('-')?.0.parse::<u32>().ok();
    let next = names.filter_map(|name| number(&name)).max().map_or(1, |last| last.saturating_add(1));
    let name = args.given().and_then(|path| path.file_stem()?.to_str()).unwrap_or("run");
    let out = runs.join(format!("{next:05}-{name}"));
    say(format!("the run folder is {}", out.display()));
    Ok(out)
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
    let resumed = args.out.as_ref().filter(|_| args.resume);
    let path = match (args.given(), resumed) {
        (Some(path), _) => path.clone(),
        (None, Some(run)) if run.join("config.toml").exists() => run.join("config.toml"),
        (None, Some(run)) => return recorded(args, run),
        (None, None) => anyhow::bail!(
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
fn recorded(args: &Args, run: &Path) -> anyhow::Result<Config> {
    let config = Run::at(run).recorded().map_err(|error| match error {
        TrainError::NoCheckpoint { folder } => anyhow!(
            "{} holds neither config.toml nor a checkpoint, so there is no run to resume; to start one, give a \
             configuration instead of --resume",
            folder.display()
        ),
        other => other.into(),
    })?;
    Ok(config.with(&assignments(args)?)?)
}
