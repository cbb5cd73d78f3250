//! A module of `src/bench`.
//!
//! Pooling over 3 × 3 windows, as in Inception v3.

use crate::bench::{Case, Size, Work, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::pool::{self, Pool, Pooled};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(1, 16), 35, 35, 288);
    let mut cases = Vec::new();
    for (what, pooled, stride, pad) in [("mean", Pooled::Mean, 1, 1), ("max", Pooled::Largest, 2, 0)] {
        let (x, spec) = (noise(gpu, shape)?, Pool { pooled, window: 3, stride, pad });
        let work = Work::Bytes((4 * (shape.len() + spec.output(shape)?.len())) as f64);
        let name = format!("{what} n{}_c288_h35_w35_k3_s{stride}", shape.n());
        cases.push(Case::new(name, work, move || pool::forward(&x, &spec).map(drop)));
    }
    Ok(cases)
}
