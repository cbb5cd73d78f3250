//! A module of `src/bench`.
//!
//! The fused reverse-time step.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::sde_step;
use crate::random::{Key, Purpose};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(128, 1024), 32, 32, 3);
    let (x, net) = (noise(gpu, shape)?, noise(gpu, shape)?);
    let key = Key::new(1, Purpose::Predictor);
    let run = move || sde_step::sde_step(&[(&x, 1.0), (&net, 0.1)], Some((0.1, key))).map(drop);
    Ok(vec![Case::new(format!("n{}_c3_h32_w32", shape.n()), bytes(shape, 3), run)])
}
