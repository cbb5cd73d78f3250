//! Images on the host.

use crate::gpu::Gpu;
use crate::tensor::{Shape, Tensor};

/// Images on the host, `[n, h, w, c]` in the model's range.
#[derive(Clone)]
pub struct Batch {
    pub shape: Shape,
    pub values: Vec<f32>,
}

impl Batch {
    /// Downloads a tensor.
    pub fn download(tensor: &Tensor) -> anyhow::Result<Batch> {
        Ok(Batch { shape: tensor.shape(), values: tensor.read()? })
    }

    /// Uploads the images.
    pub fn upload(&self, gpu: &Gpu) -> anyhow::Result<Tensor> {
        Ok(Tensor::from_slice(gpu, self.shape, &self.values)?)
    }

    /// Images of a shape `[n, h, w, c]` from `values` in the order `[n, c, h, w]`.
    pub fn from_channels(shape: Shape, values: &[f32]) -> Batch {
        let Shape([_, h, w, c]) = shape;
        let at = |i: usize| {
            let (pixel, channel) = (i / c, i % c);
            values[(pixel / (h * w) * c + channel) * h * w + pixel % (h * w)]
        };
        Batch { shape, values: (0..shape.len()).map(at).collect() }
    }

    /// `count` images from number `first`.
    pub fn part(&self, first: usize, count: usize) -> Batch {
        let len = self.shape.with_n(1).len();
        Batch { shape: self.shape.with_n(count), values: self.values[first * len..][..count * len].to_vec() }
    }
}
