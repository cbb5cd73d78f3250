//! Images to begin with, of which one or several samples each are drawn, and masks.

use super::batch::Batch;
use super::paths::ends_in;
use super::pictures::{Pictures, picture};
use crate::choice::Choice;
use crate::cli::report::count;
use crate::config::{Data, Range};
use crate::gpu::Gpu;
use crate::sample::Side;
use crate::tensor::{Shape, Tensor};
use anyhow::{Context, ensure};
use std::path::Path;

/// Images with values in [0, 1], and how many samples are drawn of each.
pub struct Observed {
    /// The values.
    values: Vec<f32>,
    /// Their extents, `[images, h, w, c]`.
    pub shape: Shape,
    /// Samples of each image, one after the other.
    each: u32,
}

impl Observed {
    /// One sample of each image.
    pub fn new(Batch { shape, values }: Batch) -> Observed {
        Observed { values, shape, each: 1 }
    }

    /// Reads images of any size (see [`Pictures::read`]); where one channel is wanted, three that are alike pass for it.
    pub fn read(name: &str, channels: usize, data: &Data) -> anyhow::Result<Observed> {
        let pictures = Pictures::read(name)?;
        let pictures = if channels == 1 { pictures.grey() } else { pictures };
        Ok(Observed::new(pictures.unit(data.range())))
    }

    /// Reads images of the model's size and as many channels.
    pub fn read_like(name: &str, data: &Data) -> anyhow::Result<Observed> {
        let input = Observed::new(Pictures::read(name)?.fit(name, data)?.unit(data.range()));
        ensure!(
            input.values.iter().all(|v| (0.0..=1.0).contains(v)),
            "{name}: some values are not in [0, 1]; bring images in that range"
        );
        Ok(input)
    }

    /// The same, so many samples of each.
    pub fn each(self, asked: Option<u32>) -> anyhow::Result<Observed> {
        let (each, images) = (asked.unwrap_or(1), self.shape.n());
        let fits = u32::try_from(images).ok().and_then(|images| images.checked_mul(each)).is_some();
        ensure!(fits, "-n {each}: of {} these are too many samples", count(images, "image"));
        Ok(Observed { each, ..self })
    }

    /// How many samples there are in all.
    pub fn samples(&self) -> u32 {
        self.shape.n() as u32 * self.each
    }

    /// Columns of a picture of the samples: a row for each image, if there are several of several.
    pub fn columns(&self) -> Option<usize> {
        (self.shape.n() > 1 && self.each > 1).then_some(self.each as usize)
    }

    /// The values of a sample's image.
    pub fn of(&self, sample: usize) -> &[f32] {
        let len = self.shape.with_n(1).len();
        let image = sample / self.each as usize % self.shape.n();
        &self.values[image * len..][..len]
    }

    /// The images of samples number `first …`, in the model's range on the device.
    pub fn upload(&self, gpu: &Gpu, first: u32, n: u32, range: Range) -> anyhow::Result<Tensor> {
        let samples = (first..first + n).flat_map(|sample| self.of(sample as usize));
        let values: Vec<f32> = samples.map(|v| range.from_unit(*v)).collect();
        Ok(Tensor::from_slice(gpu, self.shape.with_n(n as usize), &values)?)
    }

    /// The images themselves, once each.
    pub fn images(&self) -> Batch {
        Batch { shape: self.shape, values: self.values.clone() }
    }
}

/// The file of a mask, if it is no side.
pub fn mask_file(name: &str) -> Option<&Path> {
    Some(Path::new(name)).filter(|path| ends_in(path, "png"))
}

/// A mask of one image of the model, 1 where it is known: a side, or the white of a PNG.
pub fn read_mask(name: &str, shape: Shape) -> anyhow::Result<Vec<f32>> {
    let mask = match Side::named(name) {
        Some(side) => side.mask(shape),
        None => png_mask(name, shape)?,
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
    let path = mask_file(name).with_context(|| {
        format!("{name} is no mask: it is left, right, top, bottom, center, border, or the path of a PNG")
    })?;
    let mask = picture(path).context("the mask")?;
    let (h, w) = (mask.shape.h(), mask.shape.w());
    ensure!(
        (h, w) == (shape.h(), shape.w()),
        "the mask {name} is {w}x{h}, the model's images are {}x{}; bring one of that size",
        shape.w(),
        shape.h()
    );
    let c = mask.shape.c();
    let alike = mask.values.chunks(c).all(|pixel| pixel.iter().all(|v| *v == pixel[0]));
    let mask: Vec<f32> = mask.values.into_iter().step_by(c).collect();
    ensure!(
        alike && mask.iter().all(|v| *v == 0.0 || *v == 1.0),
        "the mask {name} is neither black nor white somewhere; make what is known white and the rest black"
    );
    Ok(mask.iter().flat_map(|v| std::iter::repeat_n(*v, shape.c())).collect())
}
