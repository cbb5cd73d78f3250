//! A module of `src/bench`.
//!
//! The Metropolis–Hastings test.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::metropolis::metropolis;
use crate::random::{Key, Purpose};
use crate::tensor::{Shape, Tensor};

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(128, 1024), 32, 32, 3);
    let (x, y) = (noise(gpu, shape)?, noise(gpu, shape)?);
    let ratio = noise(gpu, Shape::new(shape.n(), 1, 1, 4))?;
    let accepted = Tensor::zeros(gpu, Shape::vector(shape.n()))?;
    let key = Key::new(1, Purpose::Acceptance(0));
    // Both operands are read, and the result is written.
    let run = move || metropolis(&x, &y, &ratio, &accepted, key).map(drop);
    Ok(vec![Case::new(format!("n{}_c3_h32_w32", shape.n()), bytes(shape, 3), run)])
}
