//! A module of `src/bench`.
//!
//! FIR resampling up and down, forward and backward, and the box filters.

use crate::bench::{Case, Size, Work, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::upfirdn2d::{self, Upfirdn2d};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(4, 64), 32, 32, 64);
    let fir = [1.0, 3.0, 3.0, 1.0];
    let specs = [
        ("fir_up2", Upfirdn2d::upsample(&fir)),
        ("fir_down2", Upfirdn2d::downsample(&fir)),
        ("nearest_up2", Upfirdn2d::nearest()),
        ("mean_down2", Upfirdn2d::mean()),
        ("average5", Upfirdn2d::average(5)),
    ];
    let mut cases = Vec::new();
    for (name, spec) in specs {
        let output = spec.output(shape)?;
        let (x, dy) = (noise(gpu, shape)?, noise(gpu, output)?);
        let work = Work::Bytes((4 * (shape.len() + output.len())) as f64);
        let name = |what: &str| format!("{name}{what} n{}_c64_h32_w32", shape.n());
        let forward = {
            let spec = spec.clone();
            move || upfirdn2d::forward(&x, &spec).map(drop)
        };
        cases.push(Case::new(name(""), work, forward));
        cases.push(Case::new(name(" backward"), work, move || {
            upfirdn2d::backward(&dy, shape, &spec).map(drop)
        }));
    }
    Ok(cases)
}
