//! Denoising score matching: the perturbation, and the loss with its gradient.

use super::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::random::Noise;
use crate::kernels::score_matching::{self, Coefficients};
use crate::random::{Key, Purpose};
use crate::tensor::Shape;

pub(super) fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(128, 1024), 32, 32, 3);
    let (x, out) = (noise(gpu, shape)?, noise(gpu, shape)?);
    let coefficients = Coefficients { mean: 1.0, std: 0.5, scale: 0.5, weight: 1.0 };
    let coefficients = score_matching::upload(&x, &vec![coefficients; shape.n()])?;
    let noise = Noise::Drawn(Key::new(1, Purpose::Perturbation));
    let name = |what: &str| format!("{what} n{}_c3_h32_w32", shape.n());
    let perturb = {
        let coefficients = coefficients.clone();
        move || score_matching::perturb(&x, noise, &coefficients).map(drop)
    };
    let loss = move || score_matching::loss(&out, noise, &coefficients).map(drop);
    Ok(vec![
        Case::new(name("perturb"), bytes(shape, 2), perturb),
        Case::new(name("loss"), bytes(shape, 2), loss),
    ])
}
