//! `tweedie convert`.

use crate::cli::io::{EXPORTED, check_file, configuration, exported, is_import, local, with_notes};
use crate::cli::{Common, open_model, paths, print};
use crate::config::Config;
use crate::interop::{
    FileKind, Imported, InteropError, file_kind, foreign_network, read_diffusers, read_safetensors,
    read_score_sde, write_diffusers,
};
use crate::nn::{Registry, ScoreModel, State};
use crate::train::{Checkpoint, Run, TrainError};
use anyhow::{Context, anyhow, bail, ensure};
use std::path::{Path, PathBuf};

/// Import a model, or export one.
///
/// An imported model is a run folder: it can be sampled, evaluated and trained further.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    tweedie convert checkpoint_26.pth runs/cifar10 --config ve/cifar10_ncsnpp_continuous\n  \
    tweedie convert weights.safetensors runs/mine --config config.json\n  \
    tweedie convert ddpm-cifar10-32 runs/ddpm\n  \
    tweedie convert hf:google/ddpm-cifar10-32 runs/ddpm\n  \
    tweedie convert runs/ddpm ddpm --to diffusers\n  \
    tweedie convert runs/digits export --to safetensors")]
pub struct Args {
    /// The model: a PyTorch checkpoint of the reference implementation or with its names (.pth, …), weights
    /// (.safetensors), a folder in Hugging Face's layout or hf:OWNER/NAME[@REVISION], or a run folder or a
    /// checkpoint
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
    let written = Run::at(&args.folder).import(&config, &registry, &state).map_err(|error| match error {
        TrainError::Exists { folder } => {
            anyhow!("{} holds a run already; choose another folder", folder.display())
        }
        other => other.into(),
    })?;
    Ok((written, state.step))
}

fn read(args: &Args, source: &Path) -> anyhow::Result<(Config, Registry, State)> {
    if source.is_dir() {
        return read_folder(args, source);
    }
    check_file(source)?;
    match file_kind(source)? {
        FileKind::Foreign(foreign) => Err(InteropError::Foreign(foreign).into()),
        FileKind::Torch => {
            if let Some(foreign) =
                args.config.is_none().then(|| foreign_network(source)).transpose()?.flatten()
            {
                return Err(InteropError::Foreign(foreign).into());
            }
            with_config(args, |registry| read_score_sde(source, registry))
        }
        FileKind::Unknown if !paths::ends_in(source, "safetensors") => {
            bail!("it is neither a PyTorch checkpoint nor a safetensors file")
        }
        _ if args.config.is_none() => {
            let checkpoint = Checkpoint::read(source)?;
            let config = checkpoint.config().with(&args.set)?;
            let registry = ScoreModel::build(&config)?.registry;
            let own = ScoreModel::build(checkpoint.config())?.registry;
            let parameters = |registry: &Registry| -> Vec<_> {
                let specs = registry.trainable.iter().chain(&registry.frozen);
                specs.map(|spec| (spec.name.clone(), spec.layout.file_shape())).collect()
            };
            let same = parameters(&own) == parameters(&registry);
            ensure!(same, "--set: the weights are of another network; leave out the keys that change it");
            Ok((config, registry, checkpoint.state()?))
        }
        _ => with_config(args, |registry| read_safetensors(source, registry)),
    }
}

fn read_folder(args: &Args, source: &Path) -> anyhow::Result<(Config, Registry, State)> {
    if is_import(source) {
        ensure!(args.config.is_none(), "--config: the folder holds its own configuration; leave it out");
        let (config, imported) = read_diffusers(source, &args.set)?;
        let registry = ScoreModel::build(&config)?.registry;
        return Ok((config, registry, with_notes(&args.source, imported)));
    }
    if source.join("checkpoints").exists() {
        return read(args, &Run::at(source).latest()?);
    }
    bail!("it holds neither config.json, unet/config.json nor {EXPORTED}, nor checkpoints")
}

fn with_config(
    args: &Args,
    read: impl FnOnce(&Registry) -> Result<Imported, InteropError>,
) -> anyhow::Result<(Config, Registry, State)> {
    let path =
        args.config.as_ref().context("--config is missing: the model's configuration, JSON or TOML")?;
    let config = configuration::read(path, &args.set)?;
    let registry = ScoreModel::build(&config)?.registry;
    let state = with_notes(&args.source, read(&registry)?);
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
    let (state, existed) = (checkpoint.state()?, folder.exists());
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    let write = || -> anyhow::Result<()> {
        Checkpoint::write_state(&state, &registry, checkpoint.config(), &path)?;
        paths::written(&config, checkpoint.config().to_toml().as_bytes())
    };
    write().inspect_err(|_| {
        let _ = if existed { std::fs::remove_file(&path) } else { std::fs::remove_dir_all(folder) };
    })?;
    Ok((path, checkpoint.step()))
}

fn export_diffusers(args: &Args) -> anyhow::Result<(PathBuf, u64)> {
    let checkpoint = open_model(&args.source)?;
    ensure!(!args.folder.exists(), "{} exists already; choose another folder", args.folder.display());
    let path = write_diffusers(&args.folder, checkpoint.config(), &checkpoint.state()?)
        .with_context(|| format!("{} cannot be exported", args.source.display()))?;
    Ok((path, checkpoint.step()))
}
