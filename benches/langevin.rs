//! A module of `src/bench`.
//!
//! The Langevin step: norms, step size and update.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::langevin::{self, Langevin};
use crate::random::{Key, Purpose};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(128, 1024), 32, 32, 3);
    let (x, net) = (noise(gpu, shape)?, noise(gpu, shape)?);
    let spec = Langevin { snr: 0.16, alpha: 1.0, score_scale: 1.0, batch_norms: false };
    let key = Key::new(1, Purpose::Corrector(0));
    // The network's output is read twice: once for its norm.
    let run = move || langevin::langevin(&x, &net, spec, key).map(drop);
    Ok(vec![Case::new(format!("n{}_c3_h32_w32", shape.n()), bytes(shape, 4), run)])
}
