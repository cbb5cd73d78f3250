//! A module of `src/bench`.
//!
//! Group norm with SiLU: forward, backward, and forward with one tangent.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::elementwise::Activation;
use crate::kernels::group_norm::{self, Affine, AffineGrad, GroupNorm};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    // The last ones are instance norms.
    let small = [(4, 64, 32, 16), (16, 128, 32, 32), (4, 64, 32, 64)];
    let large = [(128, 128, 32, 32), (16, 128, 256, 32), (128, 128, 32, 128)];
    let mut cases = Vec::new();
    for (n, c, h, groups) in size.pick(small, large) {
        let spec = GroupNorm { groups, eps: 1e-6, act: Activation::Swish };
        let shape = Shape::new(n, h, h, c);
        let (x, dy, stack) = (noise(gpu, shape)?, noise(gpu, shape)?, noise(gpu, shape.with_n(2 * n))?);
        let vector = || noise(gpu, Shape::vector(c));
        let (weight, bias, dw, db) = (vector()?, vector()?, vector()?, vector()?);
        let (_, statistics) = group_norm::forward(&x, Affine { weight: &weight, bias: &bias }, &spec, 0)?;
        let name = |what: &str| format!("{what} n{n}_c{c}_h{h}_w{h}_g{groups}");
        let forward = {
            let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
            move || group_norm::forward(&x, Affine { weight: &weight, bias: &bias }, &spec, 0).map(drop)
        };
        cases.push(Case::new(name("forward"), bytes(shape, 2), forward));
        let tangent = {
            let (weight, bias) = (weight.clone(), bias.clone());
            move || group_norm::forward(&stack, Affine { weight: &weight, bias: &bias }, &spec, 1).map(drop)
        };
        cases.push(Case::new(name("tangent"), bytes(shape, 4), tangent));
        let backward = move || {
            let affine = Affine { weight: &weight, bias: &bias };
            let into = AffineGrad { weight: (&dw, false), bias: (&db, false) };
            group_norm::backward(&x, affine, &statistics, &dy, &spec, into).map(drop)
        };
        cases.push(Case::new(name("backward"), bytes(shape, 3), backward));
    }
    Ok(cases)
}
