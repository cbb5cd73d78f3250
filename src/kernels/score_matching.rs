//! Score matching: the perturbation kernel, and the losses, denoising (Song 2021, eq. 7) and sliced (Song
//! 2019b, eq. 8), with their gradients.

use super::chunk::{Chunks, RUN};
use super::random::{Noise, NoiseWords, OPERATIONS_OF_A_NORMAL};
use super::reduce::{self, Axis};
use super::{Result, check, check_shape, launch, shader};
use crate::gpu::{Element, Extent, Gpu, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("score_matching");

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

/// The denoising objective of one sample: `x = mean · x₀ + std · z`, and with the residual
/// `r = scale · out + of_z · z + of_x0 · x₀` the loss `weight · Σ r²`.
///
/// For a network that predicts the score, `scale` is the standard deviation and `of_z` is 1; for one that
/// predicts z, they are −1 and 1.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
pub struct Coefficients {
    /// Factor of the data.
    pub mean: f32,
    /// Standard deviation of the perturbation kernel.
    pub std: f32,
    /// Factor of the network's output.
    pub scale: f32,
    /// Factor of the noise in the residual.
    pub of_z: f32,
    /// Factor of the data in the residual.
    pub of_x0: f32,
    /// Factor of the squared residual.
    pub weight: f32,
    /// If positive, the loss is instead that of a decoder over 256 levels, `weight · Σ −log P(x₀)` (Ho 2020,
    /// eq. 13), with `r` the distance of its mean from x₀ and `bin` half a level, both in units of its
    /// standard deviation.
    pub bin: f32,
    /// The decoder's lowest level; its highest is 1.
    pub low: f32,
}

/// The sliced objective of one sample: with the score `s = x · state + net · out`, and its derivative along
/// v,
/// `x · v + tangent · out˙`, the loss is `weight · Σ (s² + 2 v (x · v + tangent · out˙))`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
pub struct Slice {
    /// Factor of the state.
    pub x: f32,
    /// Factor of the network's output.
    pub net: f32,
    /// Factor of its derivative along v.
    pub tangent: f32,
    /// Factor of the loss.
    pub weight: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    noise: NoiseWords,
    cut: Chunks,
    channels: u32,
}

impl Params {
    fn new(shape: Shape, noise: Noise<'_>) -> Self {
        Params { noise: noise.words(), cut: Chunks::new(shape, RUN), channels: shape.c() as u32 }
    }
}

/// Uploads one [`Coefficients`] for each sample as `[n, 1, 1, 8]`, or one [`Slice`] as `[n, 1, 1, 4]`.
pub fn upload<T: Pod>(gpu: &Gpu, each: &[T]) -> Result<Tensor> {
    let shape = Shape::new(each.len(), 1, 1, size_of::<T>() / 4);
    Ok(Tensor::from_slice(gpu, shape, bytemuck::cast_slice(each))?)
}

/// `mean · x₀ + std · z`, `[n, h, w, c]` in f32.
///
/// # Errors
/// If the shapes do not fit.
pub fn perturb(x0: &Tensor, noise: Noise<'_>, coefficients: &Tensor) -> Result<Tensor> {
    let z = checked(x0, noise, coefficients)?;
    let x = Tensor::empty(x0.gpu(), x0.shape(), Element::F32)?;
    let owned = x.shape().vec4s();
    let params = Params::new(x.shape(), noise);
    let variant = Variant::new(SHADER);
    let operands = [x0, z, coefficients, &x];
    let work = (OPERATIONS_OF_A_NORMAL * owned) as u64;
    launch(x.gpu(), variant, "perturb", &operands, &params, Extent::Invocations(owned), work)?;
    Ok(x)
}

/// The denoising loss summed over the batch, in the four lanes of `[1, 1, 1, 4]`, and its gradient in `out`,
/// the network's output at the perturbed data of [`perturb`].
///
/// # Errors
/// If the shapes do not fit.
pub fn denoising(
    out: &Tensor,
    x0: &Tensor,
    noise: Noise<'_>,
    coefficients: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let z = checked(x0, noise, coefficients)?;
    check_shape("score_matching", "the output", out, x0.shape())?;
    let params = Params::new(out.shape(), noise);
    let dout = Tensor::empty(out.gpu(), out.shape(), out.element())?;
    let total = loss("denoising", &[x0, z, coefficients, out, &dout], params)?;
    Ok((total, dout))
}

/// The sliced loss summed over the batch, in the four lanes of `[1, 1, 1, 4]`, and its gradient in `stack`,
/// the network's output at `x` and its derivative along `v`, `[2 n, h, w, c]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn sliced(stack: &Tensor, x: &Tensor, v: &Tensor, slices: &Tensor) -> Result<(Tensor, Tensor)> {
    let n = x.shape().n();
    check_shape("score_matching", "the projections", v, x.shape())?;
    check_shape("score_matching", "the slices", slices, Shape::new(n, 1, 1, 4))?;
    check_shape("score_matching", "the stack", stack, x.shape().with_n(2 * n))?;
    let params = Params::new(x.shape(), Noise::Given(v));
    let dstack = Tensor::empty(stack.gpu(), stack.shape(), stack.element())?;
    let total = loss("sliced", &[x, v, slices, stack, &dstack], params)?;
    Ok((total, dstack))
}

/// Runs a loss whose last two operands are the network's output and its gradient.
fn loss(entry: &'static str, operands: &[&Tensor; 5], params: Params) -> Result<Tensor> {
    let out = operands[3];
    let partial = Tensor::empty(out.gpu(), Shape::vector(4 * params.cut.total()), Element::F32)?;
    let operands = [&operands[..], &[&partial]].concat();
    let variant = Variant::new(SHADER).stored(out.element());
    let (owned, work) = (params.cut.total(), OPERATIONS_OF_A_NORMAL * out.shape().vec4s());
    launch(out.gpu(), variant, entry, &operands, &params, Extent::Invocations(owned), work as u64)?;
    let total = Tensor::empty(out.gpu(), Shape::vector(4), Element::F32)?;
    let axis = Axis { first: 0, outer: 1, length: params.cut.total(), inner: 1 };
    reduce::sum_axis(&partial, axis, &total, false)?;
    Ok(total)
}

/// The tensor for the binding of given noise, after all operands are checked.
fn checked<'a>(x0: &'a Tensor, noise: Noise<'a>, coefficients: &'a Tensor) -> Result<&'a Tensor> {
    let kernel = "score_matching";
    check_shape(kernel, "the coefficients", coefficients, Shape::new(x0.shape().n(), 1, 1, 8))?;
    check(kernel, x0.element() == Element::F32, || "the data are f32".into())?;
    if let Noise::Given(z) = noise {
        check_shape(kernel, "the noise", z, x0.shape())?;
        check(kernel, z.element() == Element::F32, || "given noise is f32".into())?;
    }
    Ok(noise.tensor_or(coefficients))
}
