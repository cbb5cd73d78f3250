//! A module of `src/bench`.
//!
//! Score matching: the perturbation, and the losses with their gradients.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::random::Noise;
use crate::kernels::score_matching::{self, Coefficients, Slice};
use crate::random::{Key, Purpose};
use crate::tensor::Shape;
use bytemuck::Zeroable;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(128, 1024), 32, 32, 3);
    let (x, out) = (noise(gpu, shape)?, noise(gpu, shape)?);
    let stack = noise(gpu, shape.with_n(2 * shape.n()))?;
    let coefficients =
        Coefficients { mean: 1.0, std: 0.5, scale: 0.5, of_z: 1.0, weight: 1.0, ..Zeroable::zeroed() };
    let coefficients = score_matching::upload(gpu, &vec![coefficients; shape.n()])?;
    let slices = Slice { x: 0.0, net: 1.0, tangent: 1.0, weight: 1.0 };
    let slices = score_matching::upload(gpu, &vec![slices; shape.n()])?;
    let noise = Noise::Drawn(Key::new(1, Purpose::Perturbation));
    let name = |what: &str| format!("{what} n{}_c3_h32_w32", shape.n());
    let perturb = {
        let (x, coefficients) = (x.clone(), coefficients.clone());
        move || score_matching::perturb(&x, noise, &coefficients).map(drop)
    };
    let denoising = {
        let (x, out) = (x.clone(), out.clone());
        move || score_matching::denoising(&out, &x, noise, &coefficients).map(drop)
    };
    let sliced = move || score_matching::sliced(&stack, &x, &out, &slices).map(drop);
    Ok(vec![
        Case::new(name("perturb"), bytes(shape, 2), perturb),
        Case::new(name("denoising"), bytes(shape, 3), denoising),
        Case::new(name("sliced"), bytes(shape, 6), sliced),
    ])
}
