//! A module of `src/bench`.
//!
//! Tensors of noise.

use crate::bench::{Case, Size, bytes};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::random::{Distribution, fill};
use crate::random::{Key, Purpose};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(4, 64), 64, 64, 64);
    let key = Key::new(1, Purpose::Other(2));
    let kinds = [
        ("uniform", Distribution::Uniform { low: 0.0, high: 1.0 }),
        ("normal", Distribution::Normal { std: 1.0 }),
        ("rademacher", Distribution::Rademacher),
    ];
    let case = |(name, kind): (&str, Distribution)| {
        let gpu = gpu.clone();
        let run = move || fill(&gpu, shape, key, kind).map(drop);
        Case::new(format!("{name} n{}_c64_h64_w64", shape.n()), bytes(shape, 1), run)
    };
    Ok(kinds.into_iter().map(case).collect())
}
