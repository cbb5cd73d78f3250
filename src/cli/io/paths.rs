//! Rules about paths: which are written to, and what must not be overwritten.

use crate::files::atomically;
use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};

/// Whether a file's name ends in `.ending`, in upper or lower case.
pub fn ends_in(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending))
}

/// Checks that an output path can be written, before anything is computed for it. It is a file if it has one of the endings
/// `files`, and a folder if it has none.
pub fn check(path: &Path, files: &[&str]) -> anyhow::Result<()> {
    let shown = path.display();
    // `a.png/` where `a.png` is a file.
    let bare: PathBuf = path.components().collect();
    ensure!(path.exists() || !bare.is_file(), "{shown} is not a folder; choose one, or {}", bare.display());
    let folder = path.is_dir() || path.to_string_lossy().ends_with(std::path::MAIN_SEPARATOR);
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        Some(ending) if files.contains(&ending) && path.is_dir() => {
            bail!("{shown} is a folder; choose a file in it")
        }
        Some(ending) if files.contains(&ending) => {}
        None if path.exists() && !path.is_dir() => {
            bail!("{shown} is not a folder; choose one, or F.png or F.npz")
        }
        None => {}
        Some(_) if folder => {}
        Some(_) => bail!(
            "{shown}: samples are written as .{}, or as .png in a folder, whose name ends in /",
            files.join(", .")
        ),
    }
    writable(path)
}

/// Rejects output paths that would overwrite an input or each other.
pub fn apart<'a>(inputs: &[&Path], outputs: impl IntoIterator<Item = &'a PathBuf>) -> anyhow::Result<()> {
    let read: Vec<PathBuf> = inputs.iter().map(|path| place(path)).collect();
    let mut written: Vec<(PathBuf, &Path)> = Vec::new();
    for path in outputs {
        let (place, shown) = (place(path), path.display());
        let replaced = read.iter().any(|input| covers(&place, input) || is_part(&place, input));
        ensure!(!replaced, "{shown} is an input; choose a different output path");
        if let Some((_, other)) = written.iter().find(|(a, _)| covers(a, &place) || covers(&place, a)) {
            bail!("{} and {shown} are the same output; choose different paths", other.display());
        }
        written.push((place, path));
    }
    Ok(())
}

/// Whether writing to `output` may overwrite a file: itself, or a picture in the output folder.
fn covers(output: &Path, file: &Path) -> bool {
    output == file || ends_in(file, "png") && file.parent() == Some(output)
}

/// Whether a file is an existing part of an input folder: its pictures; in the folder of a model everything but samples.
fn is_part(file: &Path, folder: &Path) -> bool {
    let model =
        ["config.toml", "config.json", "model_index.json"].iter().any(|name| folder.join(name).exists());
    let plot = file == folder.join("loss.png");
    let drawn = !plot && ["png", "npz", "gif"].iter().any(|ending| ends_in(file, ending));
    let read = if model { file.starts_with(folder) && !drawn } else { covers(folder, file) };
    read && file.is_file()
}

/// The canonical path, if at least its folder exists.
fn place(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or(path.to_path_buf());
    let folder = whole.parent().and_then(|folder| folder.canonicalize().ok());
    let named = folder.zip(whole.file_name()).map(|(folder, name)| folder.join(name));
    whole.canonicalize().ok().or(named).unwrap_or(whole)
}

/// Checks that the folder of a path can be written, or created.
pub fn writable(path: &Path) -> anyhow::Result<()> {
    let special = path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir());
    ensure!(!special, "{} is a pipe or a device; choose a path for a file", path.display());
    let mut above =
        path.ancestors().skip(1).map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    let nearest = above.find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    tempfile::tempfile_in(nearest).map(drop).map_err(|error| unwritable(path, error))
}

/// The error of a path that cannot be written.
pub fn unwritable(path: &Path, error: std::io::Error) -> anyhow::Error {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let room = matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge);
    let advice = if room { "free some space there, or choose another path" } else { "choose another path" };
    anyhow::Error::from(error).context(format!("{} cannot be written; {advice}", path.display()))
}

/// Checks an output path of tensors.
pub fn check_tensors(path: &Path) -> anyhow::Result<()> {
    ensure!(ends_in(path, "safetensors"), "{}: tensors are written as .safetensors", path.display());
    check_file(path)
}

/// Checks an output path of a file.
pub fn check_file(path: &Path) -> anyhow::Result<()> {
    ensure!(!path.is_dir(), "{} is a folder; choose a file in it", path.display());
    writable(path)
}

/// Writes a file atomically; creates its folder.
pub fn written(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    with_folder(path)?;
    atomically(path, |aside| std::fs::write(aside, bytes)).map_err(|error| unwritable(path, error))
}

/// Creates the folder of a path.
pub fn with_folder(path: &Path) -> anyhow::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", folder.display()))
        }
        None => Ok(()),
    }
}
