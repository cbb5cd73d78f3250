//! A module of `src/bench`.
//!
//! Cross entropy with its gradient, of ten classes and of a thousand.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::{Result, cross_entropy};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let n = size.pick(1024, 65_536);
    let case = |classes: usize| {
        let shape = Shape::new(n, 1, 1, classes);
        let logits = noise(gpu, shape)?;
        let labels: Vec<usize> = (0..n).map(|i| i % classes).collect();
        let labels = cross_entropy::upload(gpu, &labels, classes)?;
        let run = move || cross_entropy::cross_entropy(&logits, &labels, 1.0).map(drop);
        Ok(Case::new(format!("loss n{n}_k{classes}"), bytes(shape, 2), run))
    };
    [10, 1000].into_iter().map(case).collect()
}
