//! A module of `src/bench`.
//!
//! The batched matrix product in its three forms: a b, a bᵀ, aᵀ b.

use crate::bench::{Case, Size, Work, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::matmul::{self, Matmul};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (n, m) in size.pick([(1, 256), (1, 512)], [(1, 2048), (64, 256)]) {
        let shape = Shape::new(n, 1, m, m);
        for (name, a_transposed, b_transposed) in
            [("ab", false, false), ("abt", false, true), ("atb", true, false)]
        {
            let (a, b) = (noise(gpu, shape)?, noise(gpu, shape)?);
            let spec = Matmul { a_transposed, b_transposed, alpha: 1.0 };
            let work = Work::Operations(2.0 * (n * m * m * m) as f64);
            let run = move || matmul::matmul(&a, &b, spec).map(drop);
            cases.push(Case::new(format!("{name} n{n}_m{m}_n{m}_k{m}"), work, run));
        }
    }
    Ok(cases)
}
