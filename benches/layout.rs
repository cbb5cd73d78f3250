//! A module of `src/bench`.
//!
//! Concatenation along channels and its adjoint; samples gathered.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::{Result, layout};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for c in [64, 62] {
        let shape = Shape::new(size.pick(4, 64), 32, 32, c);
        let (a, b) = (noise(gpu, shape)?, noise(gpu, shape)?);
        let y = layout::concat(&a, &b)?;
        let name = format!("n{}_c{c}+{c}_h32_w32", shape.n());
        cases.push(Case::new(format!("forward {name}"), bytes(shape, 4), move || {
            layout::concat(&a, &b).map(drop)
        }));
        cases.push(Case::new(format!("backward {name}"), bytes(shape, 4), move || {
            layout::slice(&y, 0, c)?;
            layout::slice(&y, c, c).map(drop)
        }));
    }
    let shape = Shape::new(size.pick(32, 512), 32, 32, 3);
    let (a, b) = (noise(gpu, shape)?, noise(gpu, shape)?);
    let picks: Vec<usize> = (0..shape.n()).map(|i| i + i % 2 * shape.n()).collect();
    let name = format!("gather n{}_c3_h32_w32", shape.n());
    cases.push(Case::new(name, bytes(shape, 2), move || layout::gather(&a, &b, &picks).map(drop)));
    Ok(cases)
}
