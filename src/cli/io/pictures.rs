//! Images from pictures, arrays, tensors and data sets.

use super::{Batch, Tensors, paths::ends_in};
use crate::choice::Choice;
use crate::config::{BuiltIn, Data, Range};
use crate::data::{Dataset, Split, scale};
use crate::tensor::Shape;
use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};

/// Images from a file or a built-in data set.
pub struct Pictures {
    /// The file's values, `[n, h, w, c]`.
    pub batch: Batch,
    /// Whether they are in a model's range, not in [0, 1].
    ranged: bool,
}

impl Pictures {
    /// Reads F.png, a folder of them, `samples` of F.npz (`[n, h, w, c]` in [0, 1]), `x` of F.safetensors (`[n, c, h, w]` in the
    /// model's range), or built-in test images by number, data:digits:I or data:digits:I-J.
    pub fn read(name: &str) -> anyhow::Result<Pictures> {
        if let Some(which) = name.strip_prefix("data:") {
            let batch = built_in(which).with_context(|| format!("{name} is no image"))?;
            return Ok(Pictures { batch, ranged: false });
        }
        let path = Path::new(name);
        ensure!(path.exists(), "{name} does not exist");
        let ending = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
        let unit = |batch: Batch| Ok(Pictures { batch, ranged: false });
        match ending.as_deref() {
            Some("safetensors") => Ok(Pictures { batch: Tensors::read(path)?.images("x")?, ranged: true }),
            Some("npz") => read_npz(path).and_then(|(shape, values)| unit(Batch { shape, values })),
            _ if path.is_dir() => folder(path).and_then(unit),
            Some("png") => picture(path).and_then(unit),
            _ => bail!(
                "{name}: images are read from .png, a folder of them, .npz, .safetensors, or data:digits:I"
            ),
        }
    }

    /// Reduces three equal channels, as in many grey pictures, to one.
    pub fn grey(self) -> Pictures {
        let Batch { shape, values } = self.batch;
        let alike = shape.c() == 3 && values.chunks(3).all(|pixel| pixel.iter().all(|v| *v == pixel[0]));
        let batch = match alike {
            true => Batch { shape: shape.with_c(1), values: values.into_iter().step_by(3).collect() },
            false => Batch { shape, values },
        };
        Pictures { batch, ..self }
    }

    /// Checks the size of the images against `data`'s, and converts between one channel and three equal ones.
    pub fn fit(self, name: &str, data: &Data) -> anyhow::Result<Pictures> {
        let (size, channels) = (data.image_size, data.num_channels);
        let pictures = if channels == 1 { self.grey() } else { self };
        let Shape([_, h, w, c]) = pictures.batch.shape;
        ensure!((h, w) == (size, size), "{name} is {w}x{h}, the model's images are {size}x{size}; resize it");
        let values: Vec<f32> = match (c, channels) {
            _ if c == channels => pictures.batch.values,
            (1, 3) => pictures.batch.values.iter().flat_map(|v| [*v; 3]).collect(),
            (3, 1) => bail!("{name} is in colour, and the model needs grey images"),
            _ => bail!("{name} has {c} channel(s), and the model's images have {channels}"),
        };
        let batch = Batch { shape: pictures.batch.shape.with_c(channels), values };
        ensure!(
            pictures.ranged || batch.values.iter().all(|v| (0.0..=1.0).contains(v)),
            "{name}: some values are not in [0, 1]"
        );
        Ok(Pictures { batch, ..pictures })
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

/// Images of a model's size in its range.
pub fn images(path: &Path, data: &Data) -> anyhow::Result<Batch> {
    let name = path.to_string_lossy();
    Ok(Pictures::read(&name)?.fit(&name, data)?.in_range(data.range()))
}

/// A tensor of images of a model's size, unscaled: `x` of data, `z` of latents.
pub fn tensor(file: &Tensors, name: &str, path: &Path, data: &Data) -> anyhow::Result<Batch> {
    let batch = file.images(name)?;
    let Shape([_, h, w, c]) = batch.shape;
    let (size, channels) = (data.image_size, data.num_channels);
    ensure!(
        (h, w, c) == (size, size, channels),
        "the images of {} are {w}x{h} with {c} channel(s), the model's are {size}x{size} with {channels}",
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
    Ok(Batch { shape: Shape::new(numbers.len(), set.size, set.size, set.channels), values })
}

/// `samples` of a file, `[n, h, w, c]`.
pub fn read_npz(path: &Path) -> anyhow::Result<(Shape, Vec<f32>)> {
    let read = || -> anyhow::Result<(Shape, Vec<f32>)> {
        let file = std::io::BufReader::new(std::fs::File::open(path)?);
        let mut archive = zip::ZipArchive::new(file)?;
        let entry = archive.by_name("samples.npy").ok().context("it holds no array `samples`")?;
        let array = npyz::NpyFile::new(entry)?;
        let (shape, values) = floats(array)?;
        let shape = <[usize; 4]>::try_from(shape);
        let shape = shape.map_err(|shape| anyhow::anyhow!("`samples` has {} axes, not 4", shape.len()))?;
        Ok((Shape(shape), values.into_iter().map(|v| v as f32).collect()))
    };
    read().with_context(|| {
        format!(
            "{} cannot be read; it must hold `samples`, as written by `tweedie sample --out F.npz`",
            path.display()
        )
    })
}

const CUT_OFF: &str = "it holds fewer numbers than its header says; it is truncated";

/// An array's extents, and its numbers (at least one) in order.
pub fn floats<R: std::io::Read>(array: npyz::NpyFile<R>) -> anyhow::Result<(Vec<usize>, Vec<f64>)> {
    let shape = array.shape().to_vec();
    let kind = array.dtype().descr();
    let by_columns = array.order() == npyz::Order::Fortran && array.shape().len() > 1;
    ensure!(!by_columns, "it is stored in Fortran order; save it after numpy.ascontiguousarray");
    let values: Vec<f64> = match kind.trim_matches('\'') {
        "<f4" => array.into_vec::<f32>().context(CUT_OFF)?.into_iter().map(f64::from).collect(),
        "<f8" => array.into_vec::<f64>().context(CUT_OFF)?,
        _ => bail!("its numbers are of type {kind}, not float32 or float64"),
    };
    ensure!(values.iter().all(|v| v.is_finite()), "some of its numbers are not finite");
    // The extents come from the file, and their product may overflow.
    let len = shape.iter().try_fold(1, |len: u64, extent| len.checked_mul(*extent));
    ensure!(
        len == Some(values.len() as u64),
        "its header says {shape:?}, and it holds {} numbers",
        values.len()
    );
    ensure!(!values.is_empty(), "it is empty, {shape:?}");
    Ok((shape.into_iter().map(|extent| extent as usize).collect(), values))
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
fn folder(path: &Path) -> anyhow::Result<Batch> {
    let entries = std::fs::read_dir(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| ends_in(file, "png"));
    files.sort();
    let mut all: Option<Batch> = None;
    for file in &files {
        let one = picture(file)?;
        let Some(all) = &mut all else {
            all = Some(one);
            continue;
        };
        ensure!(
            one.shape == all.shape.with_n(1),
            "{} differs from the pictures before it in size or colour",
            file.display()
        );
        all.shape = all.shape.with_n(all.shape.n() + 1);
        all.values.extend(one.values);
    }
    all.with_context(|| format!("{} holds no PNG", path.display()))
}

/// One picture, grey or in colour as the file says, without transparency.
pub fn picture(path: &Path) -> anyhow::Result<Batch> {
    let picture = image::open(path).map_err(|e| {
        // What the decoder says repeats its cause.
        let e = anyhow::Error::from(e);
        let cause = e.root_cause().to_string();
        anyhow::anyhow!(
            "{} cannot be read: {}; it must be a PNG",
            path.display(),
            cause.trim_end_matches('.')
        )
    })?;
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let opaque = |p: &image::Rgba<u16>| p.0[3] == u16::MAX;
    ensure!(
        !picture.color().has_alpha() || picture.to_rgba16().pixels().all(opaque),
        "{} is partly transparent; the pictures must be opaque",
        path.display()
    );
    let (c, levels) = match picture.color().has_color() {
        true => (3, picture.into_rgb16().into_raw()),
        false => (1, picture.into_luma16().into_raw()),
    };
    // A byte k is 257 k of 65,535: both are k / 255 in f32.
    let values = levels.iter().map(|level| (f64::from(*level) / 65_535.0) as f32).collect();
    Ok(Batch { shape: Shape::new(1, h, w, c), values })
}
