//! Rules about paths: which are written to, and what must not be overwritten.

use crate::files::atomically;
use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};

/// Whether a file's name ends in `.ending`, in upper or lower case.
pub fn ends_in(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending))
}

/// Refuses a path that cannot be written to, before anything is computed for it. `files` are the endings that make it
/// a file; without one it is a folder.
pub fn check(path: &Path, files: &[&str]) -> anyhow::Result<()> {
    let shown = path.display();
    let folder = path.is_dir() || path.to_string_lossy().ends_with(std::path::MAIN_SEPARATOR);
    match ending(path).as_deref() {
        Some(ending) if files.contains(&ending) && path.is_dir() => {
            bail!("{shown} is a folder; name a file in it")
        }
        Some(ending) if files.contains(&ending) => {}
        None if path.exists() && !path.is_dir() => {
            bail!("{shown} is no folder; name one, or F.png or F.npz")
        }
        None => {}
        Some(_) if folder => {}
        Some(_) => bail!(
            "{shown}: samples are written as .{}, or a folder of .png, whose name ends in /",
            files.join(", .")
        ),
    }
    writable(path)
}

/// Refuses outputs in the place of what is read, and outputs of one name, of which only the last would be left.
pub fn apart<'a>(inputs: &[&Path], outputs: impl IntoIterator<Item = &'a PathBuf>) -> anyhow::Result<()> {
    let read: Vec<PathBuf> = inputs.iter().map(|path| place(path)).collect();
    let mut written: Vec<(PathBuf, &Path)> = Vec::new();
    for path in outputs {
        let (place, shown) = (place(path), path.display());
        let replaced = read.iter().any(|input| covers(&place, input) || is_part(&place, input));
        ensure!(!replaced, "{shown} is what is read; name another place to write to");
        if let Some((_, other)) = written.iter().find(|(a, _)| covers(a, &place) || covers(&place, a)) {
            bail!("{} and {shown} are one output; give each a name of its own", other.display());
        }
        written.push((place, path));
    }
    Ok(())
}

/// Whether what is written to a place may be written over a file: in its place, or as one of the pictures of a folder.
fn covers(output: &Path, file: &Path) -> bool {
    output == file || ends_in(file, "png") && file.parent() == Some(output)
}

/// Whether a file is there and read with a folder: pictures in it, and of a model whatever is not drawn from it.
fn is_part(file: &Path, folder: &Path) -> bool {
    let model =
        ["config.toml", "config.json", "model_index.json"].iter().any(|name| folder.join(name).exists());
    let drawn = ["png", "npz", "gif"].iter().any(|ending| ends_in(file, ending));
    let read = if model { file.starts_with(folder) && !drawn } else { covers(folder, file) };
    read && file.is_file()
}

/// Where a path leads to, as far as its folder exists.
fn place(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or(path.to_path_buf());
    let folder = whole.parent().and_then(|folder| folder.canonicalize().ok());
    let named = folder.zip(whole.file_name()).map(|(folder, name)| folder.join(name));
    whole.canonicalize().ok().or(named).unwrap_or(whole)
}

/// Refuses a path in a folder that cannot be written to, or made.
pub fn writable(path: &Path) -> anyhow::Result<()> {
    let mut above =
        path.ancestors().skip(1).map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    let nearest = above.find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    tempfile::tempfile_in(nearest).map(drop).with_context(|| unwritable(path))
}

fn unwritable(path: &Path) -> String {
    format!("{} cannot be written; make room there or name another place", path.display())
}

/// The ending of a file's name, in small letters.
fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase())
}

/// Refuses a path that tensors cannot be written to.
pub fn check_tensors(path: &Path) -> anyhow::Result<()> {
    ensure!(ends_in(path, "safetensors"), "{}: tensors are written as .safetensors", path.display());
    check_file(path)
}

/// Refuses a path that no file can be written to.
pub fn check_file(path: &Path) -> anyhow::Result<()> {
    ensure!(!path.is_dir(), "{} is a folder; name a file in it", path.display());
    writable(path)
}

/// Writes a whole file or none, in a folder that is made if need be.
pub fn written(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    }
    atomically(path, |aside| std::fs::write(aside, bytes)).with_context(|| unwritable(path))
}
