//! A module of `src/bench`.
//!
//! The trace estimator: stacking drawn probes, and contracting their image.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::hutchinson::{self, Probe, Probes};
use crate::kernels::random::Noise;
use crate::random::{Key, Purpose};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(32, 512), 32, 32, 3);
    let (x, image) = (noise(gpu, shape)?, noise(gpu, shape.with_n(2 * shape.n()))?);
    let noise = Noise::Drawn(Key::new(1, Purpose::Probe));
    let probes = Probes { count: 1, kind: Probe::Rademacher, noise };
    let name = |what: &str| format!("{what} n{}_c3_h32_w32", shape.n());
    Ok(vec![
        Case::new(name("seed"), bytes(shape, 3), move || hutchinson::seed(&x, probes).map(drop)),
        Case::new(name("contract"), bytes(shape, 1), move || hutchinson::contract(&image, probes).map(drop)),
    ])
}
