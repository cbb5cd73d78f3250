//! A module of `src/bench`.
//!
//! Softmax forward and backward, at attention's sizes.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::{Result, softmax};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(4, 64), 1, 256, 256);
    let (x, dy) = (noise(gpu, shape)?, noise(gpu, shape)?);
    let y = softmax::forward(&x, 0)?;
    let name = |what: &str| format!("{what} n{}_t256", shape.n());
    Ok(vec![
        Case::new(name("forward"), bytes(shape, 2), move || softmax::forward(&x, 0).map(drop)),
        Case::new(name("backward"), bytes(shape, 3), move || softmax::backward(&y, &dy).map(drop)),
    ])
}
