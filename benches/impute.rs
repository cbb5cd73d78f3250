//! A module of `src/bench`.
//!
//! Imputation of observed values.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::impute::impute;
use crate::random::{Key, Purpose};
use crate::sde::Marginal;
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(128, 1024), 32, 32, 3);
    let (x, known) = (noise(gpu, shape)?, noise(gpu, shape.with_n(1))?);
    let (at, key) = (Marginal { mean: 1.0, std: 0.5 }, Key::new(1, Purpose::Constraint(0)));
    // The noise serves as a mask: elements above one half are observed.
    let run = move || impute(&x, &known, &known, at, key).map(drop);
    Ok(vec![Case::new(format!("n{}_c3_h32_w32", shape.n()), bytes(shape, 2), run)])
}
