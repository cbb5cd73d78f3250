//! Images to begin with: from files, or from the data that are built in.

use super::evaluate::read_npz;
use crate::config::Config;
use crate::data::{Dataset, Split, scale};
use crate::gpu::Gpu;
use crate::tensor::{Shape, Tensor};
use anyhow::{Context, bail, ensure};
use std::path::Path;

/// Images with values in [0, 1], `[n, h, w, c]`.
pub(super) struct Input {
    /// The values.
    pub values: Vec<f32>,
    /// Their extents.
    pub shape: Shape,
}

impl Input {
    /// Reads `F.png`, `samples` of `F.npz` (`[n, h, w, c]` in [0, 1]), `x` of `F.safetensors` (`[n, c, h, w]` in the model's
    /// range), or `data:digits:I`, test digit number I.
    pub fn read(name: &str, config: &Config) -> anyhow::Result<Input> {
        let input = match name.strip_prefix("data:") {
            Some(which) => digit(which).with_context(|| format!("{name} is no image"))?,
            None => read(Path::new(name), config).with_context(|| format!("{name} cannot be read"))?,
        };
        ensure!(!input.values.is_empty(), "{name} holds no image");
        ensure!(input.values.iter().all(|v| v.is_finite()), "{name}: some values are not finite");
        Ok(input)
    }

    /// The same, refused if the images are not as large as the model's.
    pub fn read_like(name: &str, config: &Config, channels: usize) -> anyhow::Result<Input> {
        let input = Input::read(name, config)?;
        let (size, shape) = (config.data.image_size, input.shape);
        ensure!(
            (shape.h(), shape.w()) == (size, size),
            "{name} is {}x{}, the model's images are {size}x{size}; bring one of that size",
            shape.h(),
            shape.w()
        );
        let input = if channels == 1 { input.into_grey(name)? } else { input };
        ensure!(
            input.shape.c() == channels,
            "{name} has {} channel(s), {channels} are needed; bring an image with as many",
            input.shape.c()
        );
        ensure!(
            input.values.iter().all(|v| (0.0..=1.0).contains(v)),
            "{name}: some values are not in [0, 1]; bring images in that range"
        );
        Ok(input)
    }

    /// One channel of three alike, as grey pictures are often written.
    fn into_grey(self, name: &str) -> anyhow::Result<Input> {
        if self.shape.c() != 3 {
            return Ok(self);
        }
        let alike = self.values.chunks(3).all(|pixel| pixel[0] == pixel[1] && pixel[0] == pixel[2]);
        ensure!(alike, "{name} is in colour where grey is needed; bring a grey image");
        Ok(Input { values: self.values.chunks(3).map(|p| p[0]).collect(), shape: self.shape.with_c(1) })
    }

    /// Grey as three channels alike.
    pub fn into_colour(self) -> Input {
        let values = self.values.iter().flat_map(|v| [*v; 3]).collect();
        Input { values, shape: self.shape.with_c(3) }
    }

    /// Images number `first …` of `n`, or the only one for all, in the model's range on the device.
    pub fn upload(&self, gpu: &Gpu, first: u32, n: u32, centered: bool) -> anyhow::Result<Tensor> {
        let sample = self.shape.with_n(1).len();
        let (from, count) = if self.shape.n() == 1 { (0, 1) } else { (first as usize, n as usize) };
        let range = from * sample..(from + count) * sample;
        let values: Vec<f32> = self.values[range].iter().map(|v| model_range(*v, centered)).collect();
        Ok(Tensor::from_slice(gpu, self.shape.with_n(count), &values)?)
    }

    /// How many samples are drawn: as many as asked of one image, or one of each of several.
    pub fn samples(&self, asked: Option<u32>) -> anyhow::Result<u32> {
        let images = self.shape.n() as u32;
        match asked {
            Some(n) if images > 1 && n != images => {
                bail!("-n {n}, but there are {images} images and one sample is drawn for each; leave -n out")
            }
            Some(n) => Ok(n),
            None => Ok(images),
        }
    }
}

/// A value in [0, 1] in the model's range.
fn model_range(unit: f32, centered: bool) -> f32 {
    if centered { 2.0 * unit - 1.0 } else { unit }
}

fn digit(which: &str) -> anyhow::Result<Input> {
    let index = which.strip_prefix("digits:").and_then(|index| index.parse::<usize>().ok());
    let set = Dataset::digits(Split::Test)?;
    let index = index.filter(|index| *index < set.len());
    let index = index.with_context(|| format!("write data:digits:I with I from 0 to {}", set.len() - 1))?;
    let values = set.image(index).iter().map(|level| scale(f64::from(*level), false) as f32).collect();
    Ok(Input { values, shape: Shape::new(1, set.size, set.size, set.channels) })
}

fn read(path: &Path, config: &Config) -> anyhow::Result<Input> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("png") => read_png(path),
        Some("npz") => {
            let (values, shape) = read_npz(path)?;
            let shape = Shape(std::array::from_fn(|axis| shape[axis] as usize));
            Ok(Input { values: values.into_iter().map(|v| v as f32).collect(), shape })
        }
        Some("safetensors") => read_safetensors(path, config),
        _ => bail!("images are read from .png, .npz, .safetensors, or as data:digits:I"),
    }
}

/// Grey or colour, as the file says.
fn read_png(path: &Path) -> anyhow::Result<Input> {
    let picture = image::open(path)?;
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let (c, levels) = match picture.color().has_color() {
        true => (3, picture.into_rgb16().into_raw()),
        false => (1, picture.into_luma16().into_raw()),
    };
    // A byte k is 257 k of 65,535: both are k / 255 in f32.
    let values = levels.iter().map(|level| (f64::from(*level) / 65_535.0) as f32).collect();
    Ok(Input { values, shape: Shape::new(1, h, w, c) })
}

fn read_safetensors(path: &Path, config: &Config) -> anyhow::Result<Input> {
    let bytes = std::fs::read(path)?;
    let file = safetensors::SafeTensors::deserialize(&bytes)?;
    let view = file.tensor("x").context("it holds no tensor `x`")?;
    ensure!(view.dtype() == safetensors::Dtype::F32, "`x` is {:?}, not F32", view.dtype());
    let [n, c, h, w] = view.shape()[..] else { bail!("`x` has {} axes, not 4", view.shape().len()) };
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
    let unit = |v: f32| if config.data.centered { (v + 1.0) / 2.0 } else { v };
    let shape = Shape::new(n, h, w, c);
    let at = |i: usize| {
        let (pixel, k) = (i / c, i % c);
        let (sample, pixel) = (pixel / (h * w), pixel % (h * w));
        unit(values[(sample * c + k) * h * w + pixel])
    };
    Ok(Input { values: (0..shape.len()).map(at).collect(), shape })
}

/// A mask of one image of the model, 1 where it is known: a side, or the white of a PNG.
pub(super) fn read_mask(name: &str, shape: Shape) -> anyhow::Result<Vec<f32>> {
    let mask = match <crate::sample::Side as clap::ValueEnum>::from_str(name, false) {
        Ok(side) => side.mask(shape),
        Err(_) => png_mask(name, shape)?,
    };
    let known = mask.iter().filter(|v| **v == 1.0).count();
    ensure!(known > 0, "the mask {name} is black everywhere: nothing is known; make the known part white");
    ensure!(
        known < mask.len(),
        "the mask {name} is white everywhere: nothing is left to draw; make that part black"
    );
    Ok(mask)
}

fn png_mask(name: &str, shape: Shape) -> anyhow::Result<Vec<f32>> {
    let path = Path::new(name);
    ensure!(
        path.extension().is_some_and(|e| e == "png"),
        "{name} is no mask: it is left, right, top, bottom, center, border, or the path of a PNG"
    );
    let mask = read_png(path).with_context(|| format!("the mask {name} cannot be read"))?;
    let (h, w) = (mask.shape.h(), mask.shape.w());
    ensure!(
        (h, w) == (shape.h(), shape.w()),
        "the mask {name} is {h}x{w}, the model's images are {}x{}; bring one of that size",
        shape.h(),
        shape.w()
    );
    let mask = mask.into_grey(&format!("the mask {name}"))?;
    ensure!(
        mask.values.iter().all(|v| *v == 0.0 || *v == 1.0),
        "the mask {name} is neither black nor white somewhere; make what is known white and the rest black"
    );
    Ok(mask.values.iter().flat_map(|v| std::iter::repeat_n(*v, shape.c())).collect())
}
