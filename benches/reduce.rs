//! A module of `src/bench`.
//!
//! The gradient of a bias: a sum over pixels.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::{Result, reduce};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(4, 64), 64, 64, 64);
    let (x, y) = (noise(gpu, shape)?, noise(gpu, Shape::vector(64))?);
    let run = move || reduce::sum_pixels(&x, shape.n(), &y, false);
    Ok(vec![Case::new(format!("sum_pixels n{}_c64_h64_w64", shape.n()), bytes(shape, 1), run)])
}
