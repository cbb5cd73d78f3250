//! Models from run folders, checkpoints, other formats, and the Hugging Face Hub.

use crate::cli::{note, progress};
use crate::files;
use crate::interop::{
    Download, FileKind, Imported, InteropError, download, file_kind, foreign_network, is_diffusers,
    read_diffusers,
};
use crate::nn::{ScoreModel, State};
use crate::train::{Checkpoint, Run};
use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};

/// The help of the argument MODEL.
pub const MODEL: &str = "A run folder (its newest checkpoint), a checkpoint, a folder in Hugging Face's \
                                layout, or hf:OWNER/NAME[@REVISION]";

/// Reads a model: the newest checkpoint of a run folder, a checkpoint, or a model in Hugging Face's layout, in a folder or on
/// the hub.
pub fn open_model(path: &Path) -> anyhow::Result<Checkpoint> {
    let local = local(path)?;
    if is_import(&local) {
        let import = || -> anyhow::Result<Checkpoint> {
            let (config, imported) = read_diffusers(&local, &[])?;
            let state = with_notes(path, imported);
            let registry = ScoreModel::build(&config)?.registry;
            Ok(Checkpoint::of_state(&state, &registry, &config, &local)?)
        };
        return import().with_context(|| format!("{} cannot be used", path.display()));
    }
    let file = match exported(&local) {
        Some(file) => file,
        None if local.is_dir() => Run::at(&local).latest()?,
        None => local,
    };
    if !file.exists() {
        bail!(
            "{} does not exist; a model is a run folder, one of its checkpoints, a folder in Hugging Face's layout, or \
             hf:OWNER/NAME",
            file.display()
        );
    }
    check_file(&file)?;
    refuse_foreign(&file).with_context(|| format!("{} cannot be used", path.display()))?;
    Checkpoint::read(&file).context("the model cannot be read")
}

/// Refuses a folder, a pipe and a device, before their kind is looked for in their bytes.
pub fn check_file(file: &Path) -> anyhow::Result<()> {
    files::open(file).map(drop).with_context(|| format!("{} cannot be read", file.display()))
}

/// The state of an imported model; prints its notes.
pub fn with_notes(source: &Path, imported: Imported) -> State {
    for remark in imported.notes {
        note(format_args!("{}: {remark}", source.display()));
    }
    imported.state
}

/// Refuses a file that only `convert` reads, or nothing at all.
fn refuse_foreign(file: &Path) -> anyhow::Result<()> {
    let foreign = match file_kind(file)? {
        FileKind::Safetensors | FileKind::Unknown => return Ok(()),
        FileKind::Foreign(foreign) => Some(foreign),
        FileKind::Torch => foreign_network(file)?,
    };
    match foreign {
        Some(foreign) => Err(InteropError::Foreign(foreign).into()),
        None => bail!(
            "it is a PyTorch checkpoint; make it a run folder with `tweedie convert {} FOLDER --config CONFIG`",
            file.display()
        ),
    }
}

/// Reads a model, and refuses a classifier, which has no score.
pub fn open_score_model(path: &Path) -> anyhow::Result<Checkpoint> {
    let checkpoint = open_model(path)?;
    let name = path.display();
    ensure!(
        !checkpoint.config().is_classifier(),
        "{name} is a classifier, which has no score; choose a score model, and guide it with --classifier {name}"
    );
    Ok(checkpoint)
}

/// Whether a folder holds a model in Hugging Face's layout, not a run.
pub fn is_import(folder: &Path) -> bool {
    folder.is_dir() && !folder.join("checkpoints").exists() && is_diffusers(folder)
}

/// Returns true if a folder holds a model of any kind, or a part of one.
pub fn is_model(folder: &Path) -> bool {
    let files = ["config.toml", "checkpoints", EXPORTED];
    folder.is_dir() && (is_import(folder) || files.iter().any(|file| folder.join(file).exists()))
}

/// The checkpoint in a folder written by `convert --to safetensors`.
pub fn exported(folder: &Path) -> Option<PathBuf> {
    let other = folder.join("checkpoints").exists() || is_import(folder);
    Some(folder.join(EXPORTED)).filter(|file| file.exists() && !other)
}

/// Its name.
pub const EXPORTED: &str = "model.safetensors";

/// The local path of a model; `hf:OWNER/NAME[@REVISION]` is downloaded.
pub fn local(path: &Path) -> Result<PathBuf, InteropError> {
    let Some(name) = path.to_str().and_then(|text| text.strip_prefix("hf:")) else {
        return Ok(path.to_path_buf());
    };
    let bar = progress::bytes();
    let folder = download(name, &mut |event| match event {
        Download::Begin { file, bytes } => {
            bar.set_length(bytes);
            bar.set_position(0);
            bar.set_message(file.to_string());
        }
        Download::More(bytes) => bar.inc(bytes),
        Download::End => {}
    });
    bar.finish_and_clear();
    Ok(folder?)
}
