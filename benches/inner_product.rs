//! A module of `src/bench`.
//!
//! Inner products and errors of each sample, and samples scaled to a given norm.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::inner_product::{inner_product, normalise, scaled_error};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(128, 1024), 32, 32, 3);
    let name = format!("n{}_c3_h32_w32", shape.n());
    let (a, b, e) = (noise(gpu, shape)?, noise(gpu, shape)?, noise(gpu, shape)?);
    let (c, d, f) = (a.clone(), b.clone(), a.clone());
    Ok(vec![
        Case::new(format!("inner {name}"), bytes(shape, 2), move || inner_product(&a, &b).map(drop)),
        Case::new(format!("scaled_error {name}"), bytes(shape, 3), move || {
            scaled_error(&c, &d, &e, 1e-3, 1e-3).map(drop)
        }),
        Case::new(format!("normalise {name}"), bytes(shape, 3), move || normalise(&f, 1.0).map(drop)),
    ])
}
