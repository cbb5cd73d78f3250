//! Automatic differentiation: one trait of primitives, three engines.
//!
//! | engine | a value is | used for |
//! | --- | --- | --- |
//! | [`Eager`] | a tensor | sampling: nothing is recorded |
//! | [`Tape`] | a tensor and its place on the tape | training: reverse mode |
//! | [`Dual`] | a stack `[x; ẋ₁; …; ẋ_K]` of the engine beneath | forward mode; over [`Tape`], reverse over forward |
//!
//! A network is written once, against [`Engine`]. A primitive is right when ⟨J v, u⟩ = ⟨v, Jᵀ u⟩.

mod dual;
mod eager;
mod tape;

pub use dual::{Dual, DualValue};
pub use eager::Eager;
pub use tape::{Gradients, Tape, TapeValue};

use crate::kernels::Result;
use crate::kernels::conv2d::Conv2d;
use crate::kernels::elementwise::Activation;
use crate::kernels::group_norm::GroupNorm;
use crate::kernels::matmul::Matmul;
use crate::kernels::max_pool::MaxPool;
use crate::kernels::upfirdn2d::Upfirdn2d;
use crate::random::Key;
use crate::tensor::{Shape, Tensor};

/// A trainable tensor as an engine sees it.
#[derive(Clone)]
pub struct Parameter {
    /// Its number, unique on a tape.
    pub id: usize,
    /// Its value.
    pub value: Tensor,
    /// The destination of its gradient; without one, none is computed.
    pub gradient: Option<Tensor>,
}

/// The primitives of a network. Shapes are `[n, h, w, c]`. Every method can return
/// [`KernelError::Mismatch`](crate::kernels::KernelError::Mismatch) for shapes that do not fit together, and
/// [`KernelError::Gpu`](crate::kernels::KernelError::Gpu) for an error of the device.
pub trait Engine {
    /// The operands and results of the primitives.
    type Value: Clone;

    /// A value without a gradient.
    fn constant(&mut self, tensor: &Tensor) -> Self::Value;

    /// A trainable value.
    fn parameter(&mut self, parameter: &Parameter) -> Self::Value;

    /// A value's shape: that of the primal.
    fn shape(&self, x: &Self::Value) -> Shape;

    /// Convolution with weights `[kh, kw, c_in, c_out]` (third axis rounded up to 4) and bias `[c_out]`.
    fn conv2d(
        &mut self,
        x: &Self::Value,
        weight: &Self::Value,
        bias: Option<&Self::Value>,
        spec: &Conv2d,
    ) -> Result<Self::Value>;

    /// `act(weight · x̂ + bias)`, x̂ normalised over pixels and groups of channels.
    fn group_norm(
        &mut self,
        x: &Self::Value,
        weight: &Self::Value,
        bias: &Self::Value,
        spec: &GroupNorm,
    ) -> Result<Self::Value>;

    /// A pointwise nonlinearity.
    fn activation(&mut self, x: &Self::Value, act: Activation) -> Result<Self::Value>;

    /// FIR resampling.
    fn upfirdn2d(&mut self, x: &Self::Value, spec: &Upfirdn2d) -> Result<Self::Value>;

    /// Bilinear resampling to `[rows, columns]`, corner pixels onto corner pixels.
    fn resize(&mut self, x: &Self::Value, size: [usize; 2]) -> Result<Self::Value>;

    /// The largest value of a window, at stride 1.
    fn max_pool(&mut self, x: &Self::Value, spec: MaxPool) -> Result<Self::Value>;

    /// The mean over pixels: `[n, h, w, c]` → `[n, 1, 1, c]`.
    fn mean_pixels(&mut self, x: &Self::Value) -> Result<Self::Value>;

    /// Batched product of matrices `[n, 1, rows, columns]`.
    fn matmul(&mut self, a: &Self::Value, b: &Self::Value, spec: Matmul) -> Result<Self::Value>;

    /// Softmax over the last axis.
    fn softmax(&mut self, x: &Self::Value) -> Result<Self::Value>;

    /// `alpha a + beta b`.
    fn blend(&mut self, a: &Self::Value, alpha: f32, b: &Self::Value, beta: f32) -> Result<Self::Value>;

    /// `alpha x + beta`.
    fn affine(&mut self, x: &Self::Value, alpha: f32, beta: f32) -> Result<Self::Value>;

    /// Each sample times its number in `s`, `[n, 1, 1, 1]`.
    fn scale_samples(&mut self, x: &Self::Value, s: &Tensor) -> Result<Self::Value>;

    /// `x[n, h, w, c] + v[n, c]`.
    fn add_channels(&mut self, x: &Self::Value, v: &Self::Value) -> Result<Self::Value>;

    /// `x[n, h, w, c] · v[n, c]`; a `v` of one sample applies to all.
    fn scale_channels(&mut self, x: &Self::Value, v: &Self::Value) -> Result<Self::Value>;

    /// Channels `first .. first + count`.
    fn channels(&mut self, x: &Self::Value, first: usize, count: usize) -> Result<Self::Value>;

    /// Concatenation along channels.
    fn concat(&mut self, a: &Self::Value, b: &Self::Value) -> Result<Self::Value>;

    /// The channels of a sample in `heads` parts as samples of their own: `[n, h, w, c]` → `[n · heads, h, w, c / heads]`.
    fn split_heads(&mut self, x: &Self::Value, heads: usize) -> Result<Self::Value>;

    /// The inverse of [`split_heads`](Self::split_heads).
    fn merge_heads(&mut self, x: &Self::Value, heads: usize) -> Result<Self::Value>;

    /// The same values with other extents; the numbers of samples and of channels stay.
    fn reshape(&mut self, x: &Self::Value, shape: Shape) -> Result<Self::Value>;

    /// Each element dropped with probability `rate`, by the mask of `key`.
    fn dropout(&mut self, x: &Self::Value, rate: f32, key: Key) -> Result<Self::Value>;
}

/// An engine whose primitives also act on stacks `[x; ẋ₁; …; ẋ_K]` of samples, a primal and `probes`
/// tangents: the requirement of [`Dual`] on the engine beneath it.
///
/// To the linear primitives of [`Engine`] a stack is a batch like any other. In [`Engine::blend`] and
/// [`Engine::add_channels`] the second operand may have fewer samples, and the missing ones count as zero; in
/// [`Engine::scale_samples`] and [`Engine::scale_channels`] the factors repeat. The other primitives have a
/// method here.
pub trait Stacked: Engine {
    /// [`Engine::conv2d`] with the bias on the first `bias_samples` samples only.
    fn conv2d_stack(
        &mut self,
        x: &Self::Value,
        weight: &Self::Value,
        bias: Option<&Self::Value>,
        bias_samples: usize,
        spec: &Conv2d,
    ) -> Result<Self::Value>;

    /// [`Engine::group_norm`] of the primal and its tangents.
    fn group_norm_stack(
        &mut self,
        x: &Self::Value,
        weight: &Self::Value,
        bias: &Self::Value,
        spec: &GroupNorm,
        probes: usize,
    ) -> Result<Self::Value>;

    /// [`Engine::activation`] of the primal and its tangents.
    fn activation_stack(&mut self, x: &Self::Value, act: Activation, probes: usize) -> Result<Self::Value>;

    /// [`Engine::softmax`] of the primal and its tangents.
    fn softmax_stack(&mut self, x: &Self::Value, probes: usize) -> Result<Self::Value>;

    /// [`Engine::max_pool`] of the primal and its tangents.
    fn max_pool_stack(&mut self, x: &Self::Value, spec: MaxPool, probes: usize) -> Result<Self::Value>;

    /// [`Engine::affine`] with the shift on the first `shifted` samples only.
    fn affine_stack(&mut self, x: &Self::Value, alpha: f32, beta: f32, shifted: usize)
    -> Result<Self::Value>;

    /// [`Engine::dropout`] with the masks of the first `period` samples for all.
    fn dropout_stack(&mut self, x: &Self::Value, rate: f32, key: Key, period: usize) -> Result<Self::Value>;

    /// `count` samples from `first` on.
    fn samples(&mut self, x: &Self::Value, first: usize, count: usize) -> Result<Self::Value>;

    /// `x` followed by samples of zeros, `n` in all.
    fn extend(&mut self, x: &Self::Value, n: usize) -> Result<Self::Value>;

    /// The samples of all parts in order; there is at least one part.
    fn stack(&mut self, parts: &[Self::Value]) -> Result<Self::Value>;
}
