//! `tweedie convert`.

use crate::cli::io::{EXPORTED, configuration, exported, is_import, local};
use crate::cli::{Common, open_model, paths, print};
use crate::config::Config;
use crate::interop::{read_diffusers, read_safetensors, read_score_sde, write_diffusers};
use crate::nn::{Registry, ScoreModel, State};
use crate::train::{Checkpoint, Run};
use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};

/// Import a model, or export one.
///
/// An imported model is a run folder: it can be sampled, evaluated and trained further.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie convert checkpoint_26.pth runs/cifar10 --config configs/ve/cifar10_ncsnpp_continuous.toml\n  \
    tweedie convert weights.safetensors runs/mine --config config.json\n  \
    tweedie convert ddpm-cifar10-32 runs/ddpm\n  \
    tweedie convert hf:google/ddpm-cifar10-32 runs/ddpm\n  \
    tweedie convert runs/ddpm ddpm --to diffusers\n  \
    tweedie convert runs/digits export --to safetensors")]
pub struct Args {
    /// The model: a checkpoint of the reference implementation (.pth), weights (.safetensors), a folder in Hugging
    /// Face's layout or hf:OWNER/NAME[@REVISION], or with --to a run folder or a checkpoint
    source: PathBuf,
    /// The output: a folder that does not hold a run
    folder: PathBuf,
    /// The configuration of the imported model: the reference implementation's as JSON, or TOML
    #[arg(long, value_name = "FILE.json|FILE.toml")]
    config: Option<PathBuf>,
    /// Set a key of the configuration, for example `data.images` to train further on your own data; may be repeated
    #[arg(long, value_name = "section.key=value")]
    set: Vec<String>,
    /// Export to this format instead
    #[arg(long, value_enum, conflicts_with_all = ["config", "set"])]
    to: Option<Format>,
}

/// Formats to export to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Hugging Face's layout: model_index.json, unet, scheduler; the averaged weights
    Diffusers,
    /// model.safetensors with raw and averaged weights by the reference's names, and config.toml
    Safetensors,
}

pub fn run(common: &Common, args: &Args) -> anyhow::Result<()> {
    let (written, step) = match args.to {
        Some(Format::Safetensors) => export_safetensors(args)?,
        Some(Format::Diffusers) => export_diffusers(args)?,
        None => import(args)?,
    };
    if common.json {
        return print(serde_json::json!({ "written": written.display().to_string(), "step": step }));
    }
    print(format!("wrote {} (step {step})", written.display()))
}

fn import(args: &Args) -> anyhow::Result<(PathBuf, u64)> {
    let source = args.source.display();
    let place = local(&args.source)?;
    let place = exported(&place).unwrap_or(place);
    ensure!(place.exists(), "{source} does not exist");
    let (config, registry, state) =
        read(args, &place).with_context(|| format!("{source} cannot be imported"))?;
    let written = Run::at(&args.folder).import(&config, &registry, &state)?;
    Ok((written, state.step))
}

fn read(args: &Args, source: &Path) -> anyhow::Result<(Config, Registry, State)> {
    let ending = source.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match ending {
        _ if is_import(source) => {
            ensure!(args.config.is_none(), "--config: the folder holds its own configuration; leave it out");
            let (config, state) = read_diffusers(source, &args.set)?;
            let registry = ScoreModel::build(&config)?.registry;
            Ok((config, registry, state))
        }
        "safetensors" if args.config.is_none() => {
            let checkpoint = Checkpoint::read(source)?;
            let config = Config::from_toml(&checkpoint.config().to_toml(), &args.set)?;
            let registry = ScoreModel::build(&config)?.registry;
            Ok((config, registry, checkpoint.state()?))
        }
        "safetensors" => with_config(args, |registry| Ok(read_safetensors(source, registry)?)),
        "pth" | "pt" | "ckpt" | "bin" => with_config(args, |registry| Ok(read_score_sde(source, registry)?)),
        "pkl" | "pickle" => bail!(
            "a .pkl file (EDM's, for example) holds Python objects whose loading runs code, which this program never does; \
             save its weights as safetensors"
        ),
        _ if source.join("checkpoints").exists() => bail!("it is a run already; add --to to export it"),
        _ if source.is_dir() => bail!("it holds neither config.json, unet/config.json nor {EXPORTED}"),
        _ => bail!("it is neither .pth nor .safetensors"),
    }
}

fn with_config(
    args: &Args,
    read: impl FnOnce(&Registry) -> anyhow::Result<State>,
) -> anyhow::Result<(Config, Registry, State)> {
    let path =
        args.config.as_ref().context("--config is missing: the model's configuration, JSON or TOML")?;
    let config = configuration::read(path, &args.set)?;
    let registry = ScoreModel::build(&config)?.registry;
    let state = read(&registry)?;
    Ok((config, registry, state))
}

fn export_safetensors(args: &Args) -> anyhow::Result<(PathBuf, u64)> {
    let folder = &args.folder;
    ensure!(folder.is_dir() || !folder.exists(), "{} is a file; choose a folder", folder.display());
    let checkpoint = open_model(&args.source)?;
    let registry = ScoreModel::build(checkpoint.config())?.registry;
    let (path, config) = (args.folder.join(EXPORTED), args.folder.join("config.toml"));
    for file in [&path, &config] {
        ensure!(!file.exists(), "{} exists already; choose another folder", file.display());
    }
    let state = checkpoint.state()?;
    std::fs::create_dir_all(&args.folder)
        .with_context(|| format!("{} cannot be created", args.folder.display()))?;
    Checkpoint::write_state(&state, &registry, checkpoint.config(), &path)?;
    paths::written(&config, checkpoint.config().to_toml().as_bytes())?;
    Ok((path, checkpoint.step()))
}

fn export_diffusers(args: &Args) -> anyhow::Result<(PathBuf, u64)> {
    let checkpoint = open_model(&args.source)?;
    ensure!(!args.folder.exists(), "{} exists already; choose another folder", args.folder.display());
    let path = write_diffusers(&args.folder, checkpoint.config(), &checkpoint.state()?)
        .with_context(|| format!("{} cannot be exported", args.source.display()))?;
    Ok((path, checkpoint.step()))
}
