//! Evaluation only: nothing is recorded, a value is a tensor, and dropping it returns its memory to the pool.

use super::{Engine, Parameter, Stacked};
use crate::kernels::conv2d::{self, Conv2d};
use crate::kernels::elementwise::{self, Activation};
use crate::kernels::group_norm::{self, Affine, GroupNorm};
use crate::kernels::matmul::{self, Matmul};
use crate::kernels::max_pool::{self, MaxPool};
use crate::kernels::upfirdn2d::{self, Upfirdn2d};
use crate::kernels::{Result, dropout, heads, layout, resize, softmax};
use crate::random::Key;
use crate::tensor::{Shape, Tensor};

/// The engine that only evaluates.
#[derive(Debug, Default, Clone, Copy)]
pub struct Eager;

impl Engine for Eager {
    type Value = Tensor;

    fn constant(&mut self, tensor: &Tensor) -> Tensor {
        tensor.clone()
    }

    fn parameter(&mut self, parameter: &Parameter) -> Tensor {
        parameter.value.clone()
    }

    fn shape(&self, x: &Tensor) -> Shape {
        x.shape()
    }

    fn conv2d(
        &mut self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        spec: &Conv2d,
    ) -> Result<Tensor> {
        conv2d::forward(x, weight, bias, x.shape().n(), spec)
    }

    fn group_norm(&mut self, x: &Tensor, weight: &Tensor, bias: &Tensor, spec: &GroupNorm) -> Result<Tensor> {
        self.group_norm_stack(x, weight, bias, spec, 0)
    }

    fn activation(&mut self, x: &Tensor, act: Activation) -> Result<Tensor> {
        elementwise::activate(x, act, 0)
    }

    fn upfirdn2d(&mut self, x: &Tensor, spec: &Upfirdn2d) -> Result<Tensor> {
        upfirdn2d::forward(x, spec)
    }

    fn resize(&mut self, x: &Tensor, size: [usize; 2]) -> Result<Tensor> {
        resize::forward(x, size)
    }

    fn max_pool(&mut self, x: &Tensor, spec: MaxPool) -> Result<Tensor> {
        self.max_pool_stack(x, spec, 0)
    }

    fn mean_pixels(&mut self, x: &Tensor) -> Result<Tensor> {
        elementwise::mean_pixels(x)
    }

    fn matmul(&mut self, a: &Tensor, b: &Tensor, spec: Matmul) -> Result<Tensor> {
        matmul::matmul(a, b, spec)
    }

    fn softmax(&mut self, x: &Tensor) -> Result<Tensor> {
        softmax::forward(x, 0)
    }

    fn blend(&mut self, a: &Tensor, alpha: f32, b: &Tensor, beta: f32) -> Result<Tensor> {
        elementwise::blend(a, alpha, b, beta)
    }

    fn affine(&mut self, x: &Tensor, alpha: f32, beta: f32) -> Result<Tensor> {
        elementwise::affine(x, alpha, beta, x.shape().n())
    }

    fn scale_samples(&mut self, x: &Tensor, s: &Tensor) -> Result<Tensor> {
        elementwise::scale_samples(x, s)
    }

    fn add_channels(&mut self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        elementwise::add_channels(x, v)
    }

    fn scale_channels(&mut self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        elementwise::scale_channels(x, v)
    }

    fn channels(&mut self, x: &Tensor, first: usize, count: usize) -> Result<Tensor> {
        layout::slice(x, first, count)
    }

    fn concat(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        layout::concat(a, b)
    }

    fn split_heads(&mut self, x: &Tensor, heads: usize) -> Result<Tensor> {
        heads::split(x, heads)
    }

    fn merge_heads(&mut self, x: &Tensor, heads: usize) -> Result<Tensor> {
        heads::merge(x, heads)
    }

    fn reshape(&mut self, x: &Tensor, shape: Shape) -> Result<Tensor> {
        Ok(x.reshape(shape))
    }

    fn dropout(&mut self, x: &Tensor, rate: f32, key: Key) -> Result<Tensor> {
        dropout::dropout(x, rate, key, x.shape().n())
    }
}

impl Stacked for Eager {
    fn conv2d_stack(
        &mut self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        bias_samples: usize,
        spec: &Conv2d,
    ) -> Result<Tensor> {
        conv2d::forward(x, weight, bias, bias_samples, spec)
    }

    fn group_norm_stack(
        &mut self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        spec: &GroupNorm,
        probes: usize,
    ) -> Result<Tensor> {
        Ok(group_norm::forward(x, Affine { weight, bias }, spec, probes)?.0)
    }

    fn activation_stack(&mut self, x: &Tensor, act: Activation, probes: usize) -> Result<Tensor> {
        elementwise::activate(x, act, probes)
    }

    fn softmax_stack(&mut self, x: &Tensor, probes: usize) -> Result<Tensor> {
        softmax::forward(x, probes)
    }

    fn max_pool_stack(&mut self, x: &Tensor, spec: MaxPool, probes: usize) -> Result<Tensor> {
        Ok(max_pool::forward(x, &spec, probes)?.0)
    }

    fn affine_stack(&mut self, x: &Tensor, alpha: f32, beta: f32, shifted: usize) -> Result<Tensor> {
        elementwise::affine(x, alpha, beta, shifted)
    }

    fn dropout_stack(&mut self, x: &Tensor, rate: f32, key: Key, period: usize) -> Result<Tensor> {
        dropout::dropout(x, rate, key, period)
    }

    fn samples(&mut self, x: &Tensor, first: usize, count: usize) -> Result<Tensor> {
        layout::samples(x, first, count)
    }

    fn extend(&mut self, x: &Tensor, n: usize) -> Result<Tensor> {
        layout::extend(x, n)
    }

    fn stack(&mut self, parts: &[Tensor]) -> Result<Tensor> {
        layout::stack(&parts.iter().collect::<Vec<_>>())
    }
}
