//! The file of Inception's weights: given once, and remembered by its path and its checksum.

use crate::choice::{Choice, choices};
use crate::gpu::Gpu;
use crate::interop::InceptionFile;
use crate::nn::{Inception, Input};
use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};

choices! {
    /// The ways from an image to Inception's input.
    pub enum Convention {
        /// TensorFlow 1's resizing and (x - 128) / 128: the original FID, torch-fidelity, EDM.
        TensorFlow = "tensorflow",
        /// Resizing between half-pixel centres and 2 x - 1: pytorch-fid.
        PyTorch = "pytorch",
    }
}

impl Convention {
    /// The network's.
    pub fn input(self) -> Input {
        match self {
            Convention::TensorFlow => Input::TensorFlow,
            Convention::PyTorch => Input::PyTorch,
        }
    }

    /// That of the program that publishes a file, by the file's name.
    fn of(path: &Path) -> Convention {
        match path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pt_inception")) {
            true => Convention::PyTorch,
            false => Convention::TensorFlow,
        }
    }
}

/// A remembered file.
#[derive(Serialize, Deserialize)]
struct Remembered {
    path: PathBuf,
    sha256: String,
}

/// The network from `file`, which is remembered, or from the file that is. Returns it with the convention, `convention` or that
/// of the file, and the file's checksum.
pub fn open(
    gpu: &Gpu,
    file: Option<&Path>,
    convention: Option<Convention>,
) -> anyhow::Result<(Inception, Convention, String)> {
    let (path, known) = match file {
        Some(file) => (std::path::absolute(file)?, None),
        None => remembered()?,
    };
    let shown = path.display();
    let sha256 = checksum(&path).with_context(|| match known {
        Some(_) => format!(
            "{shown}, Inception's weights as given before, cannot be read; name them with --inception FILE"
        ),
        None => format!("{shown} cannot be read"),
    })?;
    ensure!(
        known.as_ref().is_none_or(|known| *known == sha256),
        "{shown} is not the file that was given as Inception's weights: its checksum has changed; name it again with --inception FILE"
    );
    let opened = || -> anyhow::Result<Inception> {
        let file = InceptionFile::open(&path)?;
        let mut tensors = file.tensors()?;
        Inception::build(gpu, &mut |name, shape| Ok::<_, anyhow::Error>(tensors(name, shape)?))
    };
    let inception = opened().with_context(|| format!("{shown} cannot be used"))?;
    if known.is_none() {
        remember(&Remembered { path: path.clone(), sha256: sha256.clone() })?;
    }
    Ok((inception, convention.unwrap_or(Convention::of(&path)), sha256))
}

/// The file in the user's cache that remembers the weights.
fn place() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("tweedie").join("inception.json"))
}

fn remembered() -> anyhow::Result<(PathBuf, Option<String>)> {
    let text = place().and_then(|place| std::fs::read_to_string(place).ok());
    match text.and_then(|text| serde_json::from_str::<Remembered>(&text).ok()) {
        Some(Remembered { path, sha256 }) => Ok((path, Some(sha256))),
        None => bail!(
            "Inception's weights are not in the program: name their file once with --inception FILE.pth; docs/evaluation.md says \
             where it is published"
        ),
    }
}

fn remember(file: &Remembered) -> anyhow::Result<()> {
    let Some(place) = place() else { return Ok(()) };
    crate::cli::paths::written(&place, serde_json::to_string(file)?.as_bytes())
}

/// The SHA-256 of a file, in hexadecimal digits.
fn checksum(path: &Path) -> std::io::Result<String> {
    let (mut file, mut sum, mut buffer) = (crate::files::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => sum.update(&buffer[..n]),
        }
    }
}

/// The convention's name and meaning in reports.
pub fn described(convention: Convention) -> String {
    format!("{}: {}", convention.name(), convention.help())
}
