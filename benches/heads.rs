//! A module of `src/bench`.
//!
//! Heads of attention, split and merged.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::{Result, heads};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for c in [8, 6] {
        let count = 32;
        let shape = Shape::new(size.pick(4, 64), 1, 256, count * c);
        let x = noise(gpu, shape)?;
        let y = heads::split(&x, count)?;
        let name = format!("n{}_w256_{count}x{c}", shape.n());
        cases.push(Case::new(format!("split {name}"), bytes(shape, 2), move || {
            heads::split(&x, count).map(drop)
        }));
        cases.push(Case::new(format!("merge {name}"), bytes(shape, 2), move || {
            heads::merge(&y, count).map(drop)
        }));
    }
    Ok(cases)
}
