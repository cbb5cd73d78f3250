//! Observed images, from each of which one or several samples are drawn, and masks.

use super::{Batch, paths::ends_in, pictures::Pictures, pictures::picture, points};
use crate::choice::Choice;
use crate::cli::count;
use crate::config::{Data, Fit, Range};
use crate::data::Region;
use crate::gpu::Gpu;
use crate::tensor::{Shape, Tensor};
use anyhow::{Context, ensure};
use std::path::Path;

/// Images with values in [0, 1], and the number of samples drawn for each.
pub struct Observed {
    /// The images, once each.
    pub batch: Batch,
    /// Samples of each image, one after the other.
    each: u32,
}

impl Observed {
    /// One sample of each image.
    pub fn new(batch: Batch) -> Observed {
        Observed { batch, each: 1 }
    }

    /// Reads images of any size (see [`Pictures::read`]); three equal channels count as one where `channels` is 1.
    pub fn read(name: &str, channels: usize, data: &Data) -> anyhow::Result<Observed> {
        points::refuse(data)?;
        let pictures = Pictures::read(name)?.of_channels(channels);
        Ok(Observed::new(pictures.unit(data.range())))
    }

    /// Reads images of the model's size and number of channels; `fit` scales pictures of another size.
    pub fn read_like(name: &str, data: &Data, fit: Option<Fit>) -> anyhow::Result<Observed> {
        points::refuse(data)?;
        let input = Observed::new(Pictures::of_model(name, data, fit)?.unit(data.range()));
        ensure!(
            input.batch.values.iter().all(|v| (0.0..=1.0).contains(v)),
            "{name}: some values are not in [0, 1]"
        );
        Ok(input)
    }

    /// Sets the number of samples for each image, 1 by default.
    pub fn each(self, n: Option<u32>) -> anyhow::Result<Observed> {
        let (each, images) = (n.unwrap_or(1), self.batch.shape.n());
        let fits = u32::try_from(images).ok().and_then(|images| images.checked_mul(each)).is_some();
        ensure!(fits, "-n {each}: too many samples for {}", count(images, "image"));
        Ok(Observed { each, ..self })
    }

    /// The number of samples in all.
    pub fn samples(&self) -> u32 {
        self.batch.shape.n() as u32 * self.each
    }

    /// The columns of a grid of the samples: a row for each image, if there are several images and samples.
    pub fn columns(&self) -> Option<usize> {
        (self.batch.shape.n() > 1 && self.each > 1).then_some(self.each as usize)
    }

    /// The values of a sample's image.
    pub fn of(&self, sample: usize) -> &[f32] {
        let len = self.batch.shape.with_n(1).len();
        let image = sample / self.each as usize % self.batch.shape.n();
        &self.batch.values[image * len..][..len]
    }

    /// The images of samples number `first …`, in the model's range on the device.
    pub fn upload(&self, gpu: &Gpu, first: u32, n: u32, range: Range) -> anyhow::Result<Tensor> {
        let samples = (first..first + n).flat_map(|sample| self.of(sample as usize));
        let values: Vec<f32> = samples.map(|v| range.from_unit(*v)).collect();
        Ok(Tensor::from_slice(gpu, self.batch.shape.with_n(n as usize), &values)?)
    }
}

/// The file of a mask, unless it is a side.
pub fn mask_file(name: &str) -> Option<&Path> {
    Some(Path::new(name)).filter(|path| ends_in(path, "png"))
}

/// A mask of one image of the model, 1 where it is observed: a side, or the white of a PNG.
pub fn read_mask(name: &str, shape: Shape) -> anyhow::Result<Vec<f32>> {
    let mask = match Region::named(name) {
        Some(region) => region.mask([shape.h(), shape.w(), shape.c()]),
        None => png_mask(name, shape)?,
    };
    let known = mask.iter().filter(|v| **v == 1.0).count();
    ensure!(known > 0, "the mask {name} is black everywhere; make the observed part white");
    ensure!(known < mask.len(), "the mask {name} is white everywhere; make the part to draw black");
    Ok(mask)
}

fn png_mask(name: &str, shape: Shape) -> anyhow::Result<Vec<f32>> {
    let path = mask_file(name).with_context(|| {
        format!(
            "{name} is not a mask: it must be left, right, top, bottom, center, border, or the path of a PNG"
        )
    })?;
    let mask = picture(path, None).context("the mask")?;
    let (h, w) = (mask.shape.h(), mask.shape.w());
    ensure!(
        (h, w) == (shape.h(), shape.w()),
        "the mask {name} is {w}x{h}, the model's images are {}x{}; resize it",
        shape.w(),
        shape.h()
    );
    let c = mask.shape.c();
    let alike = mask.values.chunks(c).all(|pixel| pixel.iter().all(|v| *v == pixel[0]));
    let mask: Vec<f32> = mask.values.into_iter().step_by(c).collect();
    ensure!(
        alike && mask.iter().all(|v| *v == 0.0 || *v == 1.0),
        "the mask {name} has pixels that are neither black nor white; make the observed part white and the rest black"
    );
    Ok(mask.iter().flat_map(|v| std::iter::repeat_n(*v, shape.c())).collect())
}
