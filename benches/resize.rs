//! A module of `src/bench`.
//!
//! Bilinear resampling to twice the size, forward and backward.

use crate::bench::{Case, Size, Work, noise};
use crate::gpu::Gpu;
use crate::kernels::{Result, resize};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(2, 64), 16, 16, 128);
    let large = Shape::new(shape.n(), 32, 32, 128);
    let (x, dy) = (noise(gpu, shape)?, noise(gpu, large)?);
    let work = Work::Bytes((4 * (shape.len() + large.len())) as f64);
    let name = |what: &str| format!("{what} n{}_c128_h16_w16_to32", shape.n());
    Ok(vec![
        Case::new(name("forward"), work, move || resize::forward(&x, [32, 32]).map(drop)),
        Case::new(name("backward"), work, move || resize::backward(&dy, shape).map(drop)),
    ])
}
