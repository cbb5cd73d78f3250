//! A module of `src/bench`.
//!
//! Dropout; its adjoint is the same call.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::{Result, dropout};
use crate::random::{Key, Purpose};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(4, 64), 32, 32, 64);
    let x = noise(gpu, shape)?;
    let key = Key::new(1, Purpose::Dropout(0));
    let run = move || dropout::dropout(&x, 0.1, key, shape.n()).map(drop);
    Ok(vec![Case::new(format!("n{}_c64_h32_w32", shape.n()), bytes(shape, 2), run)])
}
