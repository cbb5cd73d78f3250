//! Reverse mode. The tape holds one closure per primitive, which captures only what its adjoint needs. The
//! closures run in reverse order, and each one is dropped, with all that it captured, as soon as it has run.

use super::{Engine, Parameter, Stacked};
use crate::kernels::conv2d::{self, Conv2d};
use crate::kernels::elementwise::{self, Activation};
use crate::kernels::group_norm::{self, Affine, AffineGrad, GroupNorm};
use crate::kernels::matmul::{self, Matmul};
use crate::kernels::max_pool::{self, MaxPool};
use crate::kernels::upfirdn2d::{self, Upfirdn2d};
use crate::kernels::{Result, dropout, heads, layout, reduce, resize, softmax};
use crate::random::Key;
use crate::tensor::{Shape, Tensor};
use std::collections::HashMap;

/// A tensor and, if it needs a gradient, its node on the tape.
#[derive(Clone)]
pub struct TapeValue {
    tensor: Tensor,
    node: Option<usize>,
}

impl TapeValue {
    /// The value.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}

type Adjoint = Box<dyn FnOnce(Tensor, &mut Gradients) -> Result<()>>;

/// The engine that records.
#[derive(Default)]
pub struct Tape {
    /// `None` for a leaf.
    adjoints: Vec<Option<Adjoint>>,
    gradients: Gradients,
    parameters: HashMap<usize, usize>,
    /// The gradients of parameters are added to what their destinations hold.
    adding: bool,
}

/// The gradient of a node.
enum Slot {
    /// No contribution yet.
    Empty,
    /// A tensor of its own.
    Owned(Tensor),
    /// The destination of a parameter's gradient; it holds a value if `written`.
    Sink { tensor: Tensor, written: bool },
}

/// The gradients computed so far, by node.
#[derive(Default)]
pub struct Gradients(Vec<Slot>);

impl Gradients {
    /// The gradient in a value, once the tape has run. `None` if the output does not depend on it.
    pub fn take(&mut self, value: &TapeValue) -> Option<Tensor> {
        match std::mem::replace(&mut self.0[value.node?], Slot::Empty) {
            Slot::Empty => None,
            Slot::Owned(tensor) => Some(tensor),
            Slot::Sink { tensor, written } => written.then_some(tensor),
        }
    }

    /// Adds a contribution. The first one is kept as it is: most values are used once.
    fn add(&mut self, node: Option<usize>, gradient: Tensor) -> Result<()> {
        let Some(node) = node else { return Ok(()) };
        let slot = &mut self.0[node];
        match slot {
            Slot::Empty => *slot = Slot::Owned(gradient),
            // A tensor with another owner must not change.
            Slot::Owned(held) if held.is_unique() => elementwise::accumulate(&gradient, 1.0, held)?,
            Slot::Owned(held) => *slot = Slot::Owned(elementwise::blend(held, 1.0, &gradient, 1.0)?),
            Slot::Sink { tensor, written: true } => elementwise::accumulate(&gradient, 1.0, tensor)?,
            Slot::Sink { tensor, written } => {
                layout::copy(&gradient, 0, tensor, 0, gradient.shape().vec4s())?;
                *written = true;
            }
        }
        Ok(())
    }

    /// The destination of an adjoint's output, and whether the adjoint must add to its contents.
    fn destination(&mut self, node: usize, like: &Tensor) -> Result<(Tensor, bool)> {
        let slot = &mut self.0[node];
        match slot {
            Slot::Sink { tensor, written } => Ok((tensor.clone(), std::mem::replace(written, true))),
            Slot::Owned(held) if held.is_unique() => Ok((held.clone(), true)),
            Slot::Owned(held) => {
                let copy = elementwise::affine(held, 1.0, 0.0, 0)?;
                *slot = Slot::Owned(copy.clone());
                Ok((copy, true))
            }
            Slot::Empty => {
                let fresh = Tensor::empty(like.gpu(), like.shape(), like.element())?;
                *slot = Slot::Owned(fresh.clone());
                Ok((fresh, false))
            }
        }
    }
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Tape::default()
    }

    /// An empty tape that adds the gradients of parameters to what their destinations hold.
    pub fn adding() -> Self {
        Tape { adding: true, ..Tape::default() }
    }

    /// An input whose gradient is available from [`Gradients::take`].
    pub fn variable(&mut self, tensor: &Tensor) -> TapeValue {
        let node = self.node(None, Slot::Empty);
        TapeValue { tensor: tensor.clone(), node: Some(node) }
    }

    /// Runs the tape backwards from `output` with the cotangent `seed` of its shape.
    pub fn backward(mut self, output: &TapeValue, seed: Tensor) -> Result<Gradients> {
        self.gradients.add(output.node, seed)?;
        while let Some(adjoint) = self.adjoints.pop() {
            let node = self.adjoints.len();
            let Some(adjoint) = adjoint else { continue };
            // A node without a gradient does not influence the output.
            if let Slot::Owned(gradient) = std::mem::replace(&mut self.gradients.0[node], Slot::Empty) {
                adjoint(gradient, &mut self.gradients)?;
            }
        }
        Ok(self.gradients)
    }

    fn node(&mut self, adjoint: Option<Adjoint>, slot: Slot) -> usize {
        self.adjoints.push(adjoint);
        self.gradients.0.push(slot);
        self.adjoints.len() - 1
    }

    /// Records a primitive's output, if any of its inputs is on the tape.
    fn record(
        &mut self,
        tensor: Tensor,
        inputs: &[Option<usize>],
        adjoint: impl FnOnce(Tensor, &mut Gradients) -> Result<()> + 'static,
    ) -> TapeValue {
        let wanted = inputs.iter().any(Option::is_some);
        let node = wanted.then(|| self.node(Some(Box::new(adjoint)), Slot::Empty));
        TapeValue { tensor, node }
    }
}

impl Engine for Tape {
    type Value = TapeValue;

    fn constant(&mut self, tensor: &Tensor) -> TapeValue {
        TapeValue { tensor: tensor.clone(), node: None }
    }

    fn parameter(&mut self, parameter: &Parameter) -> TapeValue {
        let node = parameter.gradient.as_ref().map(|gradient| match self.parameters.get(&parameter.id) {
            Some(node) => *node,
            None => {
                let node = self.node(None, Slot::Sink { tensor: gradient.clone(), written: self.adding });
                self.parameters.insert(parameter.id, node);
                node
            }
        });
        TapeValue { tensor: parameter.value.clone(), node }
    }

    fn shape(&self, x: &TapeValue) -> Shape {
        x.tensor.shape()
    }

    fn conv2d(
        &mut self,
        x: &TapeValue,
        weight: &TapeValue,
        bias: Option<&TapeValue>,
        spec: &Conv2d,
    ) -> Result<TapeValue> {
        self.conv2d_stack(x, weight, bias, x.tensor.shape().n(), spec)
    }

    fn group_norm(
        &mut self,
        x: &TapeValue,
        weight: &TapeValue,
        bias: &TapeValue,
        spec: &GroupNorm,
    ) -> Result<TapeValue> {
        self.group_norm_stack(x, weight, bias, spec, 0)
    }

    fn activation(&mut self, x: &TapeValue, act: Activation) -> Result<TapeValue> {
        self.activation_stack(x, act, 0)
    }

    fn upfirdn2d(&mut self, x: &TapeValue, spec: &Upfirdn2d) -> Result<TapeValue> {
        let y = upfirdn2d::forward(&x.tensor, spec)?;
        let (node, shape, spec) = (x.node, x.tensor.shape(), spec.clone());
        Ok(self.record(y, &[node], move |dy, g| g.add(node, upfirdn2d::backward(&dy, shape, &spec)?)))
    }

    fn resize(&mut self, x: &TapeValue, size: [usize; 2]) -> Result<TapeValue> {
        let y = resize::forward(&x.tensor, size)?;
        let (node, shape) = (x.node, x.tensor.shape());
        Ok(self.record(y, &[node], move |dy, g| g.add(node, resize::backward(&dy, shape)?)))
    }

    fn max_pool(&mut self, x: &TapeValue, spec: MaxPool) -> Result<TapeValue> {
        self.max_pool_stack(x, spec, 0)
    }

    fn mean_pixels(&mut self, x: &TapeValue) -> Result<TapeValue> {
        let y = elementwise::mean_pixels(&x.tensor)?;
        let (node, shape) = (x.node, x.tensor.shape());
        Ok(self.record(y, &[node], move |dy, g| g.add(node, elementwise::mean_pixels_backward(&dy, shape)?)))
    }

    fn matmul(&mut self, a: &TapeValue, b: &TapeValue, spec: Matmul) -> Result<TapeValue> {
        let c = matmul::matmul(&a.tensor, &b.tensor, spec)?;
        let (a, b) = (a.clone(), b.clone());
        Ok(self.record(c, &[a.node, b.node], move |dc, g| {
            let (da, db) = matmul::gradients(&a.tensor, &b.tensor, &dc, spec)?;
            g.add(a.node, da)?;
            g.add(b.node, db)
        }))
    }

    fn softmax(&mut self, x: &TapeValue) -> Result<TapeValue> {
        self.softmax_stack(x, 0)
    }

    fn blend(&mut self, a: &TapeValue, alpha: f32, b: &TapeValue, beta: f32) -> Result<TapeValue> {
        let y = elementwise::blend(&a.tensor, alpha, &b.tensor, beta)?;
        let (a, b, samples) = (a.node, b.node, b.tensor.shape().n());
        Ok(self.record(y, &[a, b], move |dy, g| {
            let da = scaled(&dy, alpha)?;
            let whole = if beta == alpha { da.clone() } else { scaled(&dy, beta)? };
            g.add(a, da)?;
            drop(dy);
            g.add(b, first_samples(whole, samples)?)
        }))
    }

    fn affine(&mut self, x: &TapeValue, alpha: f32, beta: f32) -> Result<TapeValue> {
        self.affine_stack(x, alpha, beta, x.tensor.shape().n())
    }

    fn scale_samples(&mut self, x: &TapeValue, s: &Tensor) -> Result<TapeValue> {
        let y = elementwise::scale_samples(&x.tensor, s)?;
        let (node, s) = (x.node, s.clone());
        Ok(self.record(y, &[node], move |dy, g| g.add(node, elementwise::scale_samples(&dy, &s)?)))
    }

    fn add_channels(&mut self, x: &TapeValue, v: &TapeValue) -> Result<TapeValue> {
        let y = elementwise::add_channels(&x.tensor, &v.tensor)?;
        let (x, v, shape) = (x.node, v.node, v.tensor.shape());
        Ok(self.record(y, &[x, v], move |dy, g| {
            if v.is_some() {
                let pixels = dy.shape().h() * dy.shape().w();
                let dv = Tensor::empty(dy.gpu(), shape, Default::default())?;
                let axis = reduce::Axis { first: 0, outer: shape.n(), length: pixels, inner: shape.c4() };
                reduce::sum_axis(&dy, axis, &dv, false)?;
                g.add(v, dv)?;
            }
            g.add(x, dy)
        }))
    }

    fn scale_channels(&mut self, x: &TapeValue, v: &TapeValue) -> Result<TapeValue> {
        let y = elementwise::scale_channels(&x.tensor, &v.tensor)?;
        // The gradient in the factors needs the input, that in the input the factors.
        let saved = v.node.map(|_| x.tensor.clone());
        let (x, v) = (x.node, v.clone());
        Ok(self.record(y, &[x, v.node], move |dy, g| {
            if let Some(saved) = saved {
                g.add(v.node, elementwise::scale_channels_backward(&saved, &dy, v.tensor.shape())?)?;
            }
            if x.is_some() {
                g.add(x, elementwise::scale_channels(&dy, &v.tensor)?)?;
            }
            Ok(())
        }))
    }

    fn channels(&mut self, x: &TapeValue, first: usize, count: usize) -> Result<TapeValue> {
        let y = layout::slice(&x.tensor, first, count)?;
        let (node, shape) = (x.node, x.tensor.shape());
        Ok(self.record(y, &[node], move |dy, g| {
            let zeros = |channels: usize| layout::zeros(dy.gpu(), shape.with_c(channels), dy.element());
            let mut dx = dy.clone();
            if first > 0 {
                dx = layout::concat(&zeros(first)?, &dx)?;
            }
            if first + count < shape.c() {
                dx = layout::concat(&dx, &zeros(shape.c() - first - count)?)?;
            }
            g.add(node, dx)
        }))
    }

    fn concat(&mut self, a: &TapeValue, b: &TapeValue) -> Result<TapeValue> {
        let y = layout::concat(&a.tensor, &b.tensor)?;
        let (c_a, c_b) = (a.tensor.shape().c(), b.tensor.shape().c());
        let (a, b) = (a.node, b.node);
        Ok(self.record(y, &[a, b], move |dy, g| {
            g.add(a, layout::slice(&dy, 0, c_a)?)?;
            g.add(b, layout::slice(&dy, c_a, c_b)?)
        }))
    }

    fn split_heads(&mut self, x: &TapeValue, heads: usize) -> Result<TapeValue> {
        let (y, node) = (heads::split(&x.tensor, heads)?, x.node);
        Ok(self.record(y, &[node], move |dy, g| g.add(node, heads::merge(&dy, heads)?)))
    }

    fn merge_heads(&mut self, x: &TapeValue, heads: usize) -> Result<TapeValue> {
        let (y, node) = (heads::merge(&x.tensor, heads)?, x.node);
        Ok(self.record(y, &[node], move |dy, g| g.add(node, heads::split(&dy, heads)?)))
    }

    fn reshape(&mut self, x: &TapeValue, shape: Shape) -> Result<TapeValue> {
        let y = x.tensor.reshape(shape);
        let (node, shape) = (x.node, x.tensor.shape());
        Ok(self.record(y, &[node], move |dy, g| g.add(node, dy.reshape(shape))))
    }

    fn dropout(&mut self, x: &TapeValue, rate: f32, key: Key) -> Result<TapeValue> {
        self.dropout_stack(x, rate, key, x.tensor.shape().n())
    }
}

impl Stacked for Tape {
    fn conv2d_stack(
        &mut self,
        x: &TapeValue,
        weight: &TapeValue,
        bias: Option<&TapeValue>,
        bias_samples: usize,
        spec: &Conv2d,
    ) -> Result<TapeValue> {
        let y = conv2d::forward(&x.tensor, &weight.tensor, bias.map(|b| &b.tensor), bias_samples, spec)?;
        let (shape, spec) = (x.tensor.shape(), *spec);
        // The gradient in the weights needs the input, that in the input the weights.
        let saved = weight.node.map(|_| x.tensor.clone());
        let (x, weight, bias) = (x.node, weight.clone(), bias.cloned());
        let inputs = [x, weight.node, bias.as_ref().and_then(|b| b.node)];
        Ok(self.record(y, &inputs, move |dy, g| {
            if let Some(bias) = bias
                && let Some(node) = bias.node
            {
                let (db, accumulate) = g.destination(node, &bias.tensor)?;
                reduce::sum_pixels(&dy, bias_samples, &db, accumulate)?;
            }
            if let (Some(node), Some(saved)) = (weight.node, saved) {
                let (dw, accumulate) = g.destination(node, &weight.tensor)?;
                conv2d::grad_weight(&saved, &dy, &spec, &dw, accumulate)?;
            }
            if x.is_some() {
                g.add(x, conv2d::grad_input(&dy, &weight.tensor, shape, &spec)?)?;
            }
            Ok(())
        }))
    }

    fn group_norm_stack(
        &mut self,
        x: &TapeValue,
        weight: &TapeValue,
        bias: &TapeValue,
        spec: &GroupNorm,
        probes: usize,
    ) -> Result<TapeValue> {
        if probes > 0 && spec.act != Activation::Identity {
            let plain = GroupNorm { act: Activation::Identity, ..*spec };
            let u = self.group_norm_stack(x, weight, bias, &plain, probes)?;
            return self.activation_stack(&u, spec.act, probes);
        }
        let affine = Affine { weight: &weight.tensor, bias: &bias.tensor };
        let (y, statistics) = group_norm::forward(&x.tensor, affine, spec, probes)?;
        let (x, weight, bias, spec) = (x.clone(), weight.clone(), bias.clone(), *spec);
        Ok(self.record(y, &[x.node, weight.node, bias.node], move |dy, g| {
            // The input's gradient needs the sums that make up those of weight and bias: skipping them saves
            // nothing.
            let mut place = |value: &TapeValue| match value.node {
                Some(node) => g.destination(node, &value.tensor),
                None => Ok((Tensor::empty(dy.gpu(), value.tensor.shape(), Default::default())?, false)),
            };
            let (dw, db) = (place(&weight)?, place(&bias)?);
            let into = AffineGrad { weight: (&dw.0, dw.1), bias: (&db.0, db.1) };
            let affine = Affine { weight: &weight.tensor, bias: &bias.tensor };
            let dx = group_norm::backward_stack(&x.tensor, affine, &statistics, &dy, &spec, probes, into)?;
            g.add(x.node, dx)
        }))
    }

    fn activation_stack(&mut self, x: &TapeValue, act: Activation, probes: usize) -> Result<TapeValue> {
        let y = elementwise::activate(&x.tensor, act, probes)?;
        let x = x.clone();
        Ok(self.record(y, &[x.node], move |dy, g| {
            g.add(x.node, elementwise::activate_backward(&x.tensor, &dy, act, probes)?)
        }))
    }

    fn softmax_stack(&mut self, x: &TapeValue, probes: usize) -> Result<TapeValue> {
        let y = softmax::forward(&x.tensor, probes)?;
        let (node, output) = (x.node, y.clone());
        // The adjoint needs the output alone; with tangents also the input.
        let tangents = (probes > 0).then(|| x.tensor.clone());
        Ok(self.record(y, &[node], move |dy, g| {
            let dx = match tangents {
                None => softmax::backward(&output, &dy)?,
                Some(x) => softmax::backward_stack(&x, &output, &dy, probes)?,
            };
            g.add(node, dx)
        }))
    }

    fn max_pool_stack(&mut self, x: &TapeValue, spec: MaxPool, probes: usize) -> Result<TapeValue> {
        let (y, choices) = max_pool::forward(&x.tensor, &spec, probes)?;
        let (node, shape) = (x.node, x.tensor.shape());
        Ok(self
            .record(y, &[node], move |dy, g| g.add(node, max_pool::backward(&dy, shape, &choices, &spec)?)))
    }

    fn affine_stack(&mut self, x: &TapeValue, alpha: f32, beta: f32, shifted: usize) -> Result<TapeValue> {
        let y = elementwise::affine(&x.tensor, alpha, beta, shifted)?;
        let node = x.node;
        Ok(self.record(y, &[node], move |dy, g| g.add(node, scaled(&dy, alpha)?)))
    }

    fn dropout_stack(&mut self, x: &TapeValue, rate: f32, key: Key, period: usize) -> Result<TapeValue> {
        let y = dropout::dropout(&x.tensor, rate, key, period)?;
        let node = x.node;
        Ok(self.record(y, &[node], move |dy, g| g.add(node, dropout::dropout(&dy, rate, key, period)?)))
    }

    fn samples(&mut self, x: &TapeValue, first: usize, count: usize) -> Result<TapeValue> {
        let y = layout::samples(&x.tensor, first, count)?;
        let (node, shape) = (x.node, x.tensor.shape());
        Ok(self.record(y, &[node], move |dy, g| {
            let dx = Tensor::empty(dy.gpu(), shape, dy.element())?;
            let size = shape.sample_vec4s();
            layout::zero(&dx, 0, first * size)?;
            layout::copy(&dy, 0, &dx, first * size, count * size)?;
            layout::zero(&dx, (first + count) * size, (shape.n() - first - count) * size)?;
            g.add(node, dx)
        }))
    }

    fn extend(&mut self, x: &TapeValue, n: usize) -> Result<TapeValue> {
        let y = layout::extend(&x.tensor, n)?;
        let (node, samples) = (x.node, x.tensor.shape().n());
        Ok(self.record(y, &[node], move |dy, g| g.add(node, first_samples(dy, samples)?)))
    }

    fn stack(&mut self, parts: &[TapeValue]) -> Result<TapeValue> {
        let tensors: Vec<&Tensor> = parts.iter().map(|part| &part.tensor).collect();
        let y = layout::stack(&tensors)?;
        let parts: Vec<_> = parts.iter().map(|part| (part.node, part.tensor.shape().n())).collect();
        let nodes: Vec<_> = parts.iter().map(|(node, _)| *node).collect();
        Ok(self.record(y, &nodes, move |dy, g| {
            let mut first = 0;
            for (node, count) in parts {
                if node.is_some() {
                    g.add(node, layout::samples(&dy, first, count)?)?;
                }
                first += count;
            }
            Ok(())
        }))
    }
}

fn scaled(x: &Tensor, factor: f32) -> Result<Tensor> {
    if factor == 1.0 { Ok(x.clone()) } else { elementwise::affine(x, factor, 0.0, 0) }
}

fn first_samples(x: Tensor, count: usize) -> Result<Tensor> {
    if x.shape().n() == count { Ok(x) } else { layout::samples(&x, 0, count) }
}
