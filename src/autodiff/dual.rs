//! Forward mode, generic over the engine beneath. Tangents ride along the batch: a value that depends on the
//! input is a stack `[x; ẋ₁; …; ẋ_K]` of samples, and a linear primitive runs once on all of it.

use super::{Engine, Parameter, Stacked};
use crate::kernels::conv2d::Conv2d;
use crate::kernels::elementwise::Activation;
use crate::kernels::group_norm::GroupNorm;
use crate::kernels::matmul::Matmul;
use crate::kernels::max_pool::MaxPool;
use crate::kernels::upfirdn2d::Upfirdn2d;
use crate::kernels::{KernelError, Result};
use crate::random::Key;
use crate::tensor::{Shape, Tensor};

/// The engine that carries `K` tangents.
pub struct Dual<E> {
    /// The engine beneath.
    pub engine: E,
    probes: usize,
}

/// A value and its tangents, or one that has none because it does not depend on the input.
#[derive(Clone)]
pub struct DualValue<V> {
    stack: V,
    varies: bool,
}

impl<V> DualValue<V> {
    /// The stack `[x; ẋ₁; …; ẋ_K]`; the value alone if it does not depend on the input.
    pub fn stack(&self) -> &V {
        &self.stack
    }

    /// Whether it depends on the input.
    pub fn varies(&self) -> bool {
        self.varies
    }
}

impl<E: Stacked> Dual<E> {
    /// Carries `probes` tangents through `engine`.
    pub fn new(engine: E, probes: usize) -> Self {
        Dual { engine, probes }
    }

    /// An input: the stack of a primal and its tangents along the first axis.
    pub fn variable(&mut self, stack: E::Value) -> DualValue<E::Value> {
        DualValue { stack, varies: true }
    }

    /// The primal of a value, without its tangents.
    pub fn primal(&mut self, x: &DualValue<E::Value>) -> Result<E::Value> {
        Ok(self.part(x, 0)?.unwrap_or_else(|| x.stack.clone()))
    }

    /// Part `k` of a stack, 0 being the primal; `None` for a value that does not vary.
    fn part(&mut self, x: &DualValue<E::Value>, k: usize) -> Result<Option<E::Value>> {
        let n = self.extent(x);
        x.varies.then(|| self.engine.samples(&x.stack, k * n, n)).transpose()
    }

    /// The number of samples of the primal.
    fn extent(&self, x: &DualValue<E::Value>) -> usize {
        let n = self.engine.shape(&x.stack).n();
        if x.varies { n / (1 + self.probes) } else { n }
    }

    /// A primitive of one operand that the engine beneath runs once on the whole stack.
    fn on_stack(
        &mut self,
        x: &DualValue<E::Value>,
        f: impl FnOnce(&mut E, &E::Value) -> Result<E::Value>,
    ) -> Result<DualValue<E::Value>> {
        Ok(DualValue { stack: f(&mut self.engine, &x.stack)?, varies: x.varies })
    }

    /// A bilinear primitive: `f(a, b)`, and for each tangent `f(ȧ, b) + f(a, ḃ)`, without the terms that do
    /// not vary.
    fn bilinear(
        &mut self,
        a: &DualValue<E::Value>,
        b: &DualValue<E::Value>,
        mut f: impl FnMut(&mut E, &E::Value, &E::Value) -> Result<E::Value>,
    ) -> Result<DualValue<E::Value>> {
        let (a0, b0) = (self.primal(a)?, self.primal(b)?);
        let mut parts = vec![f(&mut self.engine, &a0, &b0)?];
        if !(a.varies || b.varies) {
            return Ok(DualValue { stack: parts.remove(0), varies: false });
        }
        for k in 1..=self.probes {
            let left = self.part(a, k)?.map(|da| f(&mut self.engine, &da, &b0)).transpose()?;
            let right = self.part(b, k)?.map(|db| f(&mut self.engine, &a0, &db)).transpose()?;
            parts.push(self.sum(left, right)?);
        }
        Ok(DualValue { stack: self.engine.stack(&parts)?, varies: true })
    }

    fn sum(&mut self, a: Option<E::Value>, b: Option<E::Value>) -> Result<E::Value> {
        match (a, b) {
            (Some(a), Some(b)) => self.engine.blend(&a, 1.0, &b, 1.0),
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (None, None) => {
                Err(KernelError::Mismatch { kernel: "dual", what: "neither operand varies".into() })
            }
        }
    }

    /// `x` with tangents of zero if it has none.
    fn varying(&mut self, x: &DualValue<E::Value>) -> Result<E::Value> {
        if x.varies {
            return Ok(x.stack.clone());
        }
        let n = self.extent(x);
        self.engine.extend(&x.stack, (1 + self.probes) * n)
    }

    /// `alpha a + beta b`; an operand that does not vary has zero tangents.
    fn blend_varying(
        &mut self,
        a: &DualValue<E::Value>,
        alpha: f32,
        b: &DualValue<E::Value>,
        beta: f32,
    ) -> Result<E::Value> {
        // To the engine, missing samples of the second operand are zeros.
        match a.varies {
            true => self.engine.blend(&a.stack, alpha, &b.stack, beta),
            false => self.engine.blend(&b.stack, beta, &a.stack, alpha),
        }
    }
}

impl<E: Stacked> Engine for Dual<E> {
    type Value = DualValue<E::Value>;

    fn constant(&mut self, tensor: &Tensor) -> Self::Value {
        DualValue { stack: self.engine.constant(tensor), varies: false }
    }

    fn parameter(&mut self, parameter: &Parameter) -> Self::Value {
        DualValue { stack: self.engine.parameter(parameter), varies: false }
    }

    fn shape(&self, x: &Self::Value) -> Shape {
        self.engine.shape(&x.stack).with_n(self.extent(x))
    }

    fn conv2d(
        &mut self,
        x: &Self::Value,
        weight: &Self::Value,
        bias: Option<&Self::Value>,
        spec: &Conv2d,
    ) -> Result<Self::Value> {
        let n = self.extent(x);
        if !weight.varies && !bias.is_some_and(|b| b.varies) {
            let bias = bias.map(|b| &b.stack);
            return self.on_stack(x, |engine, x| engine.conv2d_stack(x, &weight.stack, bias, n, spec));
        }
        let Some(bias) = bias else {
            return self.bilinear(x, weight, |engine, x, w| engine.conv2d(x, w, None, spec));
        };
        // A bias is added to every pixel of its part of the stack: the primal's to the primal, a tangent to a
        // tangent.
        let product = self.bilinear(x, weight, |engine, x, w| engine.conv2d(x, w, None, spec))?;
        let (product, bias) = (self.varying(&product)?, self.varying(bias)?);
        let mut rows = Vec::with_capacity((1 + self.probes) * n);
        for k in 0..=self.probes {
            rows.extend(vec![self.engine.samples(&bias, k, 1)?; n]);
        }
        let rows = self.engine.stack(&rows)?;
        Ok(DualValue { stack: self.engine.add_channels(&product, &rows)?, varies: true })
    }

    fn group_norm(
        &mut self,
        x: &Self::Value,
        weight: &Self::Value,
        bias: &Self::Value,
        spec: &GroupNorm,
    ) -> Result<Self::Value> {
        if !weight.varies && !bias.varies {
            let probes = if x.varies { self.probes } else { 0 };
            return self.on_stack(x, |engine, x| {
                engine.group_norm_stack(x, &weight.stack, &bias.stack, spec, probes)
            });
        }
        // u = weight x̂ + bias is linear in both: their tangents add weight˙ x̂ + bias˙.
        let plain = GroupNorm { act: Activation::Identity, ..*spec };
        let (w0, b0) = (self.primal(weight)?, self.primal(bias)?);
        let (weight, bias) = (self.varying(weight)?, self.varying(bias)?);
        let stack = self.varying(x)?;
        let u = self.engine.group_norm_stack(&stack, &w0, &b0, &plain, self.probes)?;
        let u = DualValue { stack: u, varies: true };
        let x0 = self.primal(x)?;
        let mut parts = vec![self.primal(&u)?];
        for k in 1..=self.probes {
            let (w, b) = (self.engine.samples(&weight, k, 1)?, self.engine.samples(&bias, k, 1)?);
            let affine = self.engine.group_norm(&x0, &w, &b, &plain)?;
            let tangent = self.part(&u, k)?;
            parts.push(self.sum(tangent, Some(affine))?);
        }
        let u = DualValue { stack: self.engine.stack(&parts)?, varies: true };
        self.activation(&u, spec.act)
    }

    fn activation(&mut self, x: &Self::Value, act: Activation) -> Result<Self::Value> {
        let probes = if x.varies { self.probes } else { 0 };
        self.on_stack(x, |engine, x| engine.activation_stack(x, act, probes))
    }

    fn upfirdn2d(&mut self, x: &Self::Value, spec: &Upfirdn2d) -> Result<Self::Value> {
        self.on_stack(x, |engine, x| engine.upfirdn2d(x, spec))
    }

    fn resize(&mut self, x: &Self::Value, size: [usize; 2]) -> Result<Self::Value> {
        self.on_stack(x, |engine, x| engine.resize(x, size))
    }

    fn max_pool(&mut self, x: &Self::Value, spec: MaxPool) -> Result<Self::Value> {
        let probes = if x.varies { self.probes } else { 0 };
        self.on_stack(x, |engine, x| engine.max_pool_stack(x, spec, probes))
    }

    fn mean_pixels(&mut self, x: &Self::Value) -> Result<Self::Value> {
        self.on_stack(x, |engine, x| engine.mean_pixels(x))
    }

    fn matmul(&mut self, a: &Self::Value, b: &Self::Value, spec: Matmul) -> Result<Self::Value> {
        self.bilinear(a, b, |engine, a, b| engine.matmul(a, b, spec))
    }

    fn softmax(&mut self, x: &Self::Value) -> Result<Self::Value> {
        let probes = if x.varies { self.probes } else { 0 };
        self.on_stack(x, |engine, x| engine.softmax_stack(x, probes))
    }

    fn blend(&mut self, a: &Self::Value, alpha: f32, b: &Self::Value, beta: f32) -> Result<Self::Value> {
        let stack = self.blend_varying(a, alpha, b, beta)?;
        Ok(DualValue { stack, varies: a.varies || b.varies })
    }

    fn affine(&mut self, x: &Self::Value, alpha: f32, beta: f32) -> Result<Self::Value> {
        let n = self.extent(x);
        self.on_stack(x, |engine, x| engine.affine_stack(x, alpha, beta, n))
    }

    fn scale_samples(&mut self, x: &Self::Value, s: &Tensor) -> Result<Self::Value> {
        self.on_stack(x, |engine, x| engine.scale_samples(x, s))
    }

    fn add_channels(&mut self, x: &Self::Value, v: &Self::Value) -> Result<Self::Value> {
        let stack = if v.varies { self.varying(x)? } else { x.stack.clone() };
        Ok(DualValue { stack: self.engine.add_channels(&stack, &v.stack)?, varies: x.varies || v.varies })
    }

    fn scale_channels(&mut self, x: &Self::Value, v: &Self::Value) -> Result<Self::Value> {
        match v.varies {
            false => self.on_stack(x, |engine, x| engine.scale_channels(x, &v.stack)),
            true => self.bilinear(x, v, |engine, x, v| engine.scale_channels(x, v)),
        }
    }

    fn channels(&mut self, x: &Self::Value, first: usize, count: usize) -> Result<Self::Value> {
        self.on_stack(x, |engine, x| engine.channels(x, first, count))
    }

    fn concat(&mut self, a: &Self::Value, b: &Self::Value) -> Result<Self::Value> {
        if !a.varies && !b.varies {
            return Ok(DualValue { stack: self.engine.concat(&a.stack, &b.stack)?, varies: false });
        }
        let (a, b) = (self.varying(a)?, self.varying(b)?);
        Ok(DualValue { stack: self.engine.concat(&a, &b)?, varies: true })
    }

    // A part of the stack stays one: the samples of a head follow their own sample's.
    fn split_heads(&mut self, x: &Self::Value, heads: usize) -> Result<Self::Value> {
        self.on_stack(x, |engine, x| engine.split_heads(x, heads))
    }

    fn merge_heads(&mut self, x: &Self::Value, heads: usize) -> Result<Self::Value> {
        self.on_stack(x, |engine, x| engine.merge_heads(x, heads))
    }

    fn reshape(&mut self, x: &Self::Value, shape: Shape) -> Result<Self::Value> {
        let n = self.engine.shape(&x.stack).n();
        self.on_stack(x, |engine, x| engine.reshape(x, shape.with_n(n)))
    }

    fn dropout(&mut self, x: &Self::Value, rate: f32, key: Key) -> Result<Self::Value> {
        let n = self.extent(x);
        self.on_stack(x, |engine, x| engine.dropout_stack(x, rate, key, n))
    }
}
