//! Images from pictures, arrays, tensors and data sets.

use super::{Batch, Tensors, paths::ends_in, points};
use crate::choice::Choice;
use crate::cli::{count, note};
use crate::config::{BuiltIn, Data, Fit, ImageSize, Range};
use crate::data::picture::{ENDINGS, decode, fitted, is_picture};
use crate::data::{Array, Dataset, Split, scale};
use crate::files;
use crate::tensor::Shape;
use anyhow::{Context, bail, ensure};
use image::DynamicImage;
use std::path::{Path, PathBuf};

/// Images from a file or a built-in data set.
pub struct Pictures {
    /// The file's values, `[n, h, w, c]`.
    pub batch: Batch,
    /// Whether they are in a model's range, not in [0, 1].
    ranged: bool,
}

impl Pictures {
    /// Reads F.png, a folder of them, an array of F.npz or F.npy (`[n, h, w, c]` in [0, 1], or levels), `x` of F.safetensors
    /// (`[n, c, h, w]` in the model's range), or built-in test images by number, data:digits:I or data:digits:I-J.
    pub fn read(name: &str) -> anyhow::Result<Pictures> {
        Pictures::scaled(name, None)
    }

    /// The same, with pictures scaled to a size.
    fn scaled(name: &str, to: Option<(ImageSize, Fit)>) -> anyhow::Result<Pictures> {
        if let Some(which) = name.strip_prefix("data:") {
            let batch = built_in(which).with_context(|| format!("{name} is no image"))?;
            return Ok(Pictures { batch, ranged: false });
        }
        let path = Path::new(name);
        ensure!(path.exists(), "{name} does not exist");
        let ending = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
        let unit = |batch: Batch| Ok(Pictures { batch, ranged: false });
        match ending.as_deref() {
            Some("safetensors") => {
                let file = Tensors::read(path)?;
                file.only(&["x"]);
                Ok(Pictures { batch: file.images("x")?, ranged: true })
            }
            Some("npz" | "npy") => array(path).and_then(unit),
            _ if path.is_dir() => folder(path, to).and_then(unit),
            _ if is_picture(path) => picture(path, to).and_then(unit),
            _ => bail!(
                "{name}: images are read from .png, a folder of them, .npz (as of `tweedie sample --out F.npz`), .npy, \
                 .safetensors, or data:digits:I"
            ),
        }
    }

    /// Reduces three equal channels to one, if there is to be one: pictures of grey images often have three.
    pub fn of_channels(self, channels: usize) -> Pictures {
        if channels == 1 { self.grey() } else { self }
    }

    /// Reduces three equal channels to one.
    fn grey(self) -> Pictures {
        let Batch { shape, values } = self.batch;
        let alike = shape.c() == 3 && values.chunks(3).all(|pixel| pixel.iter().all(|v| *v == pixel[0]));
        let batch = match alike {
            true => Batch { shape: shape.with_c(1), values: values.into_iter().step_by(3).collect() },
            false => Batch { shape, values },
        };
        Pictures { batch, ..self }
    }

    /// Reads images of a model; `fit` scales pictures of another size.
    pub fn of_model(name: &str, data: &Data, fit: Option<Fit>) -> anyhow::Result<Pictures> {
        Pictures::scaled(name, fit.map(|fit| (data.image_size, fit)))?.checked(name, data)
    }

    /// Checks the size of the images against `data`'s, and converts between one channel and three equal ones.
    fn checked(self, name: &str, data: &Data) -> anyhow::Result<Pictures> {
        let [height, width, channels] = data.shape();
        let pictures = self.of_channels(channels);
        let ranged = pictures.ranged;
        let batch = promoted(pictures.batch, channels);
        let Shape([_, h, w, c]) = batch.shape;
        ensure!(
            (h, w) == (height, width),
            "{name} is {w}x{h}, the model's images are {width}x{height}; --fit crop, pad or stretch scales pictures"
        );
        match (c, channels) {
            _ if c == channels => {}
            (4, 1 | 3) if !ranged => {
                bail!("{name} is partly transparent, and the model's images are not; make it opaque")
            }
            (3, 1) => bail!("{name} is in colour, and the model needs grey images"),
            _ => bail!("{name} has {}, and the model's images have {channels}", count(c, "channel")),
        }
        ensure!(
            ranged || batch.values.iter().all(|v| (0.0..=1.0).contains(v)),
            "{name}: some values are not in [0, 1]"
        );
        Ok(Pictures { batch, ranged })
    }

    /// The images in [0, 1].
    pub fn unit(self, range: Range) -> Batch {
        self.mapped(true, |v| range.to_unit(v))
    }

    /// The images in the model's range.
    pub fn in_range(self, range: Range) -> Batch {
        self.mapped(false, |v| range.from_unit(v))
    }

    /// The images, mapped by `f` if `ranged` is theirs.
    fn mapped(self, ranged: bool, f: impl Fn(f32) -> f32) -> Batch {
        let Batch { shape, mut values } = self.batch;
        if self.ranged == ranged {
            values.iter_mut().for_each(|v| *v = f(*v));
        }
        Batch { shape, values }
    }
}

/// Images with `channels` channels, if they have three equal ones for one, or one for three; else as they are.
pub fn converted(batch: Batch, channels: usize) -> Batch {
    promoted(Pictures { batch, ranged: false }.of_channels(channels).batch, channels)
}

/// Images of a model's size in its range.
pub fn images(path: &Path, data: &Data, fit: Option<Fit>) -> anyhow::Result<Batch> {
    if data.is_points() && !ends_in(path, "safetensors") {
        anyhow::ensure!(fit.is_none(), "--fit: points are used as they are; leave it out");
        return points::read(path);
    }
    Ok(Pictures::of_model(&path.to_string_lossy(), data, fit)?.in_range(data.range()))
}

/// A tensor of images of a model's size, unscaled: `x` of data, `z` of latents.
pub fn tensor(file: &Tensors, name: &str, path: &Path, data: &Data) -> anyhow::Result<Batch> {
    let batch = file.images(name)?;
    let Shape([_, h, w, c]) = batch.shape;
    let [height, width, channels] = data.shape();
    ensure!(
        [h, w, c] == data.shape(),
        "the images of {} are {h}x{w}x{c}, the model's are {height}x{width}x{channels}",
        path.display()
    );
    Ok(batch)
}

/// Images of a data set by their numbers, in a model's range.
pub fn members(set: &Dataset, numbers: &[usize], range: Range) -> anyhow::Result<Batch> {
    if let Some(number) = numbers.iter().find(|number| **number >= set.len()) {
        bail!("there is no image {number}; the numbers go from 0 to {}", set.len() - 1);
    }
    let levels = numbers.iter().flat_map(|number| set.image(*number));
    let values = levels.map(|level| scale(f64::from(*level), range.centered) as f32).collect();
    Ok(Batch { shape: Shape::of_images(numbers.len(), set.shape()), values })
}

/// Images of an array, `[n, h, w, c]`; levels are scaled to [0, 1].
fn array(path: &Path) -> anyhow::Result<Batch> {
    let Array { shape, numbers, labels, mut left_out } = Array::read(path)?;
    left_out.extend(labels.map(|(name, _)| name));
    let axes = <[usize; 4]>::try_from(shape);
    let shown = path.display();
    let shape = axes.map_err(|shape| {
        anyhow::anyhow!("{shown}: `samples` has {} axes, not 4; images are [n, h, w, c]", shape.len())
    })?;
    if !left_out.is_empty() {
        note(format!("{shown}: left out, no images: {}", left_out.join(", ")));
    }
    Ok(Batch { shape: Shape(shape), values: numbers.images() })
}

/// Test images by their numbers: `digits:I`, `digits_color:I-J`.
fn built_in(which: &str) -> anyhow::Result<Batch> {
    let (name, numbers) = which.split_once(':').unwrap_or((which, ""));
    let built_in =
        BuiltIn::named(name).context("write data:digits:I or data:digits_color:I, or I-J for several")?;
    let set = Dataset::built_in(built_in, Split::Test)?;
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let range = first.parse::<usize>().ok().zip(last.parse::<usize>().ok());
    let range = range.filter(|(first, last)| first <= last && *last < set.len());
    let (first, last) = range.with_context(|| {
        format!("write data:{name}:I with I from 0 to {}, or I-J for several", set.len() - 1)
    })?;
    members(&set, &(first..=last).collect::<Vec<_>>(), Range { centered: false })
}

/// The pictures of a folder, by name.
fn folder(path: &Path, to: Option<(ImageSize, Fit)>) -> anyhow::Result<Batch> {
    let entries = std::fs::read_dir(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    // Macs leave a `._1.png` beside `1.png`.
    files.retain(|file| !file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    files.sort();
    let (mut files, others): (Vec<PathBuf>, Vec<PathBuf>) =
        files.into_iter().partition(|file| is_picture(file));
    if !others.is_empty() {
        let names: Vec<_> = others.iter().filter_map(|other| other.file_name()?.to_str()).collect();
        note(format!(
            "{}: left out, as only .{} are read: {}",
            path.display(),
            ENDINGS.join(", ."),
            names.join(", ")
        ));
    }
    // Beyond 99,999 the names that are numbers grow longer.
    let number = |file: &PathBuf| file.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
    files.sort_by_key(|file| number(file).unwrap_or(u64::MAX));
    let pictures = files.iter().map(|file| picture(file, to)).collect::<anyhow::Result<Vec<Batch>>>()?;
    // Among coloured pictures some may be grey, and among transparent ones some opaque.
    let channels = pictures.iter().map(|picture| picture.shape.c()).max().unwrap_or(1);
    let pictures: Vec<Batch> = pictures.into_iter().map(|picture| promoted(picture, channels)).collect();
    let first = pictures.first().with_context(|| format!("{} holds no picture", path.display()))?.shape;
    let other = pictures.iter().zip(&files).find(|(picture, _)| picture.shape != first);
    if let Some((_, file)) = other {
        bail!("{} differs from the pictures before it in size", file.display());
    }
    let shape = first.with_n(pictures.len());
    Ok(Batch { shape, values: pictures.into_iter().flat_map(|picture| picture.values).collect() })
}

/// Pictures with more channels: grey as three equal ones, opaque as a fourth of 1.
fn promoted(Batch { shape, values }: Batch, channels: usize) -> Batch {
    let values = match (shape.c(), channels) {
        (1, 3) => values.iter().flat_map(|v| [*v; 3]).collect(),
        (1, 4) => values.iter().flat_map(|v| [*v, *v, *v, 1.0]).collect(),
        (3, 4) => values.chunks(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 1.0]).collect(),
        _ => return Batch { shape, values },
    };
    Batch { shape: shape.with_c(channels), values }
}

/// One picture, grey or in colour as the file says; of four channels if any pixel is transparent. It may be scaled to a size.
pub fn picture(path: &Path, to: Option<(ImageSize, Fit)>) -> anyhow::Result<Batch> {
    let bytes = files::read(path).map_err(|e| e.to_string());
    let picture = bytes.and_then(|bytes| decode(&bytes)).map_err(|fault| {
        anyhow::anyhow!(
            "{} cannot be read: {fault}; it must be a picture (.{})",
            path.display(),
            ENDINGS.join(", .")
        )
    })?;
    Ok(pixels(match to {
        Some((size, fit)) => fitted(picture, size, fit),
        None => picture,
    }))
}

/// The values of a picture, grey or in colour; of four channels if any pixel is transparent.
pub fn pixels(picture: DynamicImage) -> Batch {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let transparent = |p: &image::Rgba<u16>| p.0[3] < u16::MAX;
    let (c, levels) = match picture.color() {
        color if color.has_alpha() && picture.to_rgba16().pixels().any(transparent) => {
            (4, picture.into_rgba16().into_raw())
        }
        color if color.has_color() => (3, picture.into_rgb16().into_raw()),
        _ => (1, picture.into_luma16().into_raw()),
    };
    // A byte k is 257 k of 65,535: both are k / 255 in f32.
    let values = levels.iter().map(|level| (f64::from(*level) / 65_535.0) as f32).collect();
    Batch { shape: Shape::new(1, h, w, c), values }
}
