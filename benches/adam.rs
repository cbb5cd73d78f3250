//! A module of `src/bench`.
//!
//! Adam over flat arenas: the norm, and the step with clipping and average.

use crate::bench::{Case, Size, Work, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::adam::{self, Adam, Arenas};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let len = size.pick(10_000_000, 60_000_000);
    let arenas: Vec<_> = (0..5).map(|_| noise(gpu, Shape::vector(len))).collect::<Result<_>>()?;
    let gradient = arenas[0].clone();
    let norm = adam::clip(&gradient, 1.0)?;
    let spec = Adam {
        rate: 0.0,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        grad_clip: 1.0,
        ema: 0.999,
        step: 1,
    };
    let step = move || {
        let [gradient, weight, moment1, moment2, average] = [0, 1, 2, 3, 4].map(|i| &arenas[i]);
        adam::adam(Arenas { weight, gradient, moment1, moment2, average }, &norm, spec)
    };
    Ok(vec![
        Case::new(format!("norm p{len}"), Work::Bytes(4.0 * len as f64), move || {
            adam::clip(&gradient, 1.0).map(drop)
        }),
        // Four arrays read, four read and written.
        Case::new(format!("step p{len}"), Work::Bytes(36.0 * len as f64), step),
    ])
}
