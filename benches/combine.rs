//! A module of `src/bench`.
//!
//! Linear forms: a solver's step.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::combine::Form;
use crate::random::{Key, Purpose};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(128, 1024), 32, 32, 3);
    let (x, net) = (noise(gpu, shape)?, noise(gpu, shape)?);
    let key = Key::new(1, Purpose::Predictor);
    let run = move || (&x + &net * 0.1 + Form::normal(key) * 0.1).run().map(drop);
    Ok(vec![Case::new(format!("n{}_c3_h32_w32", shape.n()), bytes(shape, 3), run)])
}
