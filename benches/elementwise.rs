//! A module of `src/bench`.
//!
//! Activations, sums and scalings.

use crate::bench::{Case, Size, bytes, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::elementwise::{self, Activation};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let shape = Shape::new(size.pick(4, 64), 32, 32, 64);
    let (x, y) = (noise(gpu, shape)?, noise(gpu, shape)?);
    let (s, v) = (noise(gpu, Shape::new(shape.n(), 1, 1, 1))?, noise(gpu, Shape::new(shape.n(), 1, 1, 64))?);
    let act = Activation::Swish;
    let name = |what: &str| format!("{what} n{}_c64_h32_w32", shape.n());
    let with = |f: fn(&crate::tensor::Tensor, &crate::tensor::Tensor) -> Result<()>, other| {
        let x = x.clone();
        move || f(&x, &other)
    };
    Ok(vec![
        Case::new(name("swish"), bytes(shape, 2), {
            let x = x.clone();
            move || elementwise::activate(&x, act, 0).map(drop)
        }),
        Case::new(name("swish backward"), bytes(shape, 3), {
            let (x, y) = (x.clone(), y.clone());
            move || elementwise::activate_backward(&x, &y, act, 0).map(drop)
        }),
        Case::new(name("elu"), bytes(shape, 2), {
            with(|x, _| elementwise::activate(x, Activation::Elu, 0).map(drop), y.clone())
        }),
        Case::new(name("blend"), bytes(shape, 3), {
            with(|x, y| elementwise::blend(x, 0.7, y, 0.7).map(drop), y.clone())
        }),
        Case::new(
            name("accumulate"),
            bytes(shape, 3),
            with(|x, y| elementwise::accumulate(x, 1.0, y), y.clone()),
        ),
        Case::new(name("affine"), bytes(shape, 2), {
            with(|x, _| elementwise::affine(x, 2.0, -1.0, x.shape().n()).map(drop), y.clone())
        }),
        Case::new(name("clamp"), bytes(shape, 2), {
            with(|x, _| elementwise::clamp(x, 0.0, 1.0).map(drop), y.clone())
        }),
        Case::new(name("scale_samples"), bytes(shape, 2), {
            with(|x, s| elementwise::scale_samples(x, s).map(drop), s)
        }),
        Case::new(name("mean_pixels"), bytes(shape, 1), {
            with(|x, _| elementwise::mean_pixels(x).map(drop), y.clone())
        }),
        Case::new(name("scale_channels"), bytes(shape, 2), {
            with(|x, v| elementwise::scale_channels(x, v).map(drop), v.clone())
        }),
        Case::new(name("scale_channels in the factors"), bytes(shape, 2), {
            let (x, dy, factors) = (x.clone(), y.clone(), v.shape());
            move || elementwise::scale_channels_backward(&x, &dy, factors).map(drop)
        }),
        Case::new(name("add_channels"), bytes(shape, 2), {
            with(|x, v| elementwise::add_channels(x, v).map(drop), v)
        }),
    ])
}
