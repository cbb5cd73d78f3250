//! Images that a model is given: pictures, arrays, tensors and data sets.

use super::tensors::{Batch, Tensors};
use crate::config::Data;
use crate::data::{Dataset, scale};
use crate::tensor::Shape;
use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};

/// Images of a model's size in its range, from a picture, a folder of pictures, an array or a tensor `x`, by the path's
/// ending.
pub(super) fn images(path: &Path, data: &Data) -> anyhow::Result<Batch> {
    let name = path.display();
    ensure!(path.exists(), "{name} does not exist");
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
    match ending.as_deref() {
        Some("safetensors") => tensor(&Tensors::read(path)?, "x", path, data),
        Some("npz") => {
            let (shape, values) = read_npz(path)?;
            ensure!(
                values.iter().all(|v| (0.0..=1.0).contains(v)),
                "{name} holds values outside [0, 1]; write images as numbers from 0 to 1"
            );
            let batch = Batch { shape, values: ranged(values, data) };
            fits(&batch, path, data).map(|()| batch)
        }
        _ if path.is_dir() => folder(path, data),
        Some("png") => picture(path, data),
        _ => bail!("{name} is no .png, folder, .npz or .safetensors"),
    }
}

/// A tensor of images of a model's size, as it stands: `x` of data, `z` of latents.
pub(super) fn tensor(file: &Tensors, name: &str, path: &Path, data: &Data) -> anyhow::Result<Batch> {
    let batch = file.images(name)?;
    fits(&batch, path, data).map(|()| batch)
}

/// Images of a data set by their numbers, in the model's range.
pub(super) fn members(set: &Dataset, numbers: &[usize], data: &Data) -> anyhow::Result<Batch> {
    if let Some(number) = numbers.iter().find(|number| **number >= set.len()) {
        bail!("there is no image {number}: the data are numbered from 0 to {}", set.len() - 1);
    }
    let levels = numbers.iter().flat_map(|number| set.image(*number));
    let values = levels.map(|level| scale(f64::from(*level), data.centered) as f32).collect();
    Ok(Batch { shape: Shape::new(numbers.len(), set.size, set.size, set.channels), values })
}

/// `samples` of a file, `[n, h, w, c]`.
pub(super) fn read_npz(path: &Path) -> anyhow::Result<(Shape, Vec<f32>)> {
    let read = || -> anyhow::Result<(Shape, Vec<f32>)> {
        let file = std::io::BufReader::new(std::fs::File::open(path)?);
        let mut archive = zip::ZipArchive::new(file)?;
        let entry = archive.by_name("samples.npy").context("it holds no array `samples`")?;
        let array = npyz::NpyFile::new(entry)?;
        let shape = array.shape().to_vec();
        let [n, h, w, c] = shape[..] else { bail!("`samples` has {} axes, not 4", shape.len()) };
        let values = array.into_vec::<f32>()?;
        ensure!(values.iter().all(|v| v.is_finite()), "some samples are not finite");
        Ok((Shape([n, h, w, c].map(|extent| extent as usize)), values))
    };
    read().with_context(|| {
        format!("{} cannot be read; it should be written by `tweedie sample --out F.npz`", path.display())
    })
}

/// The pictures of a folder, by name.
fn folder(path: &Path, data: &Data) -> anyhow::Result<Batch> {
    let entries = std::fs::read_dir(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")));
    files.sort();
    ensure!(!files.is_empty(), "{} holds no PNG", path.display());
    let mut values = Vec::new();
    for file in &files {
        values.extend(picture(file, data)?.values);
    }
    Ok(Batch { shape: Shape::new(files.len(), data.image_size, data.image_size, data.num_channels), values })
}

/// One picture: grey for models of one channel, in colour for those of three. Transparency is ignored.
fn picture(path: &Path, data: &Data) -> anyhow::Result<Batch> {
    let name = path.display();
    let picture = image::open(path).with_context(|| format!("{name} cannot be read"))?;
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let grey = !picture.color().has_color();
    let pixels = picture.into_rgb32f();
    // A picture whose colours are all grey is grey, however it is stored.
    let grey = grey || pixels.pixels().all(|p| p[0] == p[1] && p[1] == p[2]);
    let channels = data.num_channels;
    let stored = if grey { 1 } else { 3 };
    let fits_colour = channels == stored || (grey && channels == 3);
    let shape = Shape::new(1, h, w, if fits_colour { channels } else { stored });
    let values = pixels.pixels().flat_map(|p| p.0.into_iter().take(shape.c())).collect();
    let batch = Batch { shape, values: ranged(values, data) };
    fits(&batch, path, data).map(|()| batch)
}

/// Values in [0, 1] in the model's range.
fn ranged(values: Vec<f32>, data: &Data) -> Vec<f32> {
    values.into_iter().map(|v| scale(255.0 * f64::from(v), data.centered) as f32).collect()
}

/// Refuses images of another size than the model's.
fn fits(batch: &Batch, path: &Path, data: &Data) -> anyhow::Result<()> {
    let Shape([n, h, w, c]) = batch.shape;
    ensure!(n > 0, "{} holds no image", path.display());
    let (size, channels) = (data.image_size, data.num_channels);
    ensure!(
        (h, w, c) == (size, size, channels),
        "the images of {} are {w}x{h} with {c} channel(s), the model's are {size}x{size} with {channels}",
        path.display()
    );
    Ok(())
}
