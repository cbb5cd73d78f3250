//! A module of `src/bench`.
//!
//! Max pooling over 5 × 5 windows, as in RefineNet, forward and backward.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::max_pool::{self, MaxPool};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(2, 64), 32, 32, 128);
    let spec = MaxPool::around(5);
    let (x, dy) = (noise(gpu, shape)?, noise(gpu, shape)?);
    let (_, choices) = max_pool::forward(&x, &spec, 0)?;
    let name = |what: &str| format!("{what} n{}_c128_h32_w32_k5", shape.n());
    Ok(vec![
        Case::new(name("forward"), bytes(shape, 2), move || max_pool::forward(&x, &spec, 0).map(drop)),
        Case::new(name("backward"), bytes(shape, 2), move || {
            max_pool::backward(&dy, shape, &choices, &spec).map(drop)
        }),
    ])
}
