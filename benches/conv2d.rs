//! A module of `src/bench`.
//!
//! Convolution forward, and its gradients in the input and in the weights.

use crate::bench::{Case, Size, Work, noise};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::conv2d::{self, Conv2d};
use crate::tensor::Shape;

pub fn cases(gpu: &Gpu, size: Size) -> Result<Vec<Case>> {
    let small = [
        (16, 32, 8, 32, 3, 1),
        (4, 64, 32, 64, 3, 1),
        (2, 128, 32, 128, 3, 1),
        (4, 64, 32, 64, 1, 1),
        (4, 64, 16, 64, 3, 4),
    ];
    let large = [
        (128, 128, 32, 128, 3, 1),
        (128, 256, 16, 256, 3, 1),
        (16, 128, 64, 128, 3, 1),
        (128, 256, 16, 256, 1, 1),
        (128, 256, 16, 256, 3, 4),
    ];
    let mut cases = Vec::new();
    for (n, c, h, o, k, dilation) in size.pick(small, large) {
        let spec = Conv2d { dilation, ..Conv2d::padded(k / 2 * dilation) };
        let shape = Shape::new(n, h, h, c);
        let (x, w) = (noise(gpu, shape)?, noise(gpu, conv2d::weight_shape(k, k, c, o))?);
        let (dy, dw) = (noise(gpu, shape.with_c(o))?, noise(gpu, w.shape())?);
        let dilated = if dilation > 1 { format!("_d{dilation}") } else { String::new() };
        let name = format!("n{n}_c{c}_h{h}_w{h}_co{o}_k{k}{dilated}");
        let work = Work::Operations(2.0 * (n * h * h * c * o * k * k) as f64);
        let forward = {
            let (x, w) = (x.clone(), w.clone());
            move || conv2d::forward(&x, &w, None, 0, &spec).map(drop)
        };
        cases.push(Case::new(format!("forward {name}"), work, forward));
        let grad_input = {
            let dy = dy.clone();
            move || conv2d::grad_input(&dy, &w, shape, &spec).map(drop)
        };
        cases.push(Case::new(format!("grad_input {name}"), work, grad_input));
        let grad_weight = move || conv2d::grad_weight(&x, &dy, &spec, &dw, false);
        cases.push(Case::new(format!("grad_weight {name}"), work, grad_weight));
    }
    Ok(cases)
}
