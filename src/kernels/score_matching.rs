//! Denoising score matching (Song 2021, eq. 7): the perturbation kernel, and the loss with its gradient.

use super::random::{Noise, NoiseWords};
use super::reduce::{self, Axis};
use super::{Result, check, check_shape, launch};
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

/// What the objective says of one sample: `x = mean · x₀ + std · z`, `loss = weight · Σ (scale · out + z)²`.
///
/// With a network that gives the score, `scale` is the standard deviation; with one that predicts −z, it is 1.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
pub struct Coefficients {
    /// Factor of the data.
    pub mean: f32,
    /// Standard deviation of the perturbation kernel.
    pub std: f32,
    /// Factor of the network's output.
    pub scale: f32,
    /// Factor of the squared residual.
    pub weight: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    noise: NoiseWords,
    samples: u32,
    sample: u32,
    channels: u32,
    chunks: u32,
    run: u32,
}

/// `vec4`s that one invocation of the loss sums.
const RUN: usize = 16;

impl Params {
    fn new(shape: Shape, noise: Noise<'_>) -> Self {
        Params {
            noise: noise.words(),
            samples: shape.n() as u32,
            sample: shape.sample_vec4s() as u32,
            channels: shape.c() as u32,
            chunks: shape.sample_vec4s().div_ceil(RUN) as u32,
            run: RUN as u32,
        }
    }
}

/// Uploads one [`Coefficients`] for each sample as `[n, 1, 1, 4]`.
///
/// # Errors
/// If the device refuses.
pub fn upload(like: &Tensor, coefficients: &[Coefficients]) -> Result<Tensor> {
    let shape = Shape::new(coefficients.len(), 1, 1, 4);
    Ok(Tensor::from_slice(like.gpu(), shape, bytemuck::cast_slice(coefficients))?)
}

/// `mean · x₀ + std · z`, `[n, h, w, c]` in f32.
///
/// # Errors
/// If the shapes do not fit, or the device refuses.
pub fn perturb(x0: &Tensor, noise: Noise<'_>, coefficients: &Tensor) -> Result<Tensor> {
    let z = checked("score_matching", x0, noise, coefficients)?;
    let x = Tensor::empty(x0.gpu(), x0.shape(), Element::F32)?;
    let owned = x.shape().vec4s();
    let params = Params::new(x.shape(), noise);
    let variant = Variant::new(Shader::ScoreMatching);
    let work = 400 * owned as u64;
    launch(
        x.gpu(),
        variant,
        "perturb",
        &[x0, z, coefficients, &x],
        &params,
        Extent::Invocations(owned),
        work,
    )?;
    Ok(x)
}

/// The loss summed over the batch, in the four lanes of `[1, 1, 1, 4]`, and its gradient in `out`.
///
/// # Errors
/// If the shapes do not fit, or the device refuses.
pub fn loss(out: &Tensor, noise: Noise<'_>, coefficients: &Tensor) -> Result<(Tensor, Tensor)> {
    let z = checked("score_matching", out, noise, coefficients)?;
    let params = Params::new(out.shape(), noise);
    let owned = (params.samples * params.chunks) as usize;
    let dout = Tensor::empty(out.gpu(), out.shape(), out.element())?;
    let partial = Tensor::empty(out.gpu(), Shape::vector(4 * owned), Element::F32)?;
    let variant = Variant::new(Shader::ScoreMatching).stored(out.element());
    let work = 400 * out.shape().vec4s() as u64;
    let operands = [out, z, coefficients, &dout, &partial];
    launch(out.gpu(), variant, "loss", &operands, &params, Extent::Invocations(owned), work)?;
    let total = Tensor::empty(out.gpu(), Shape::vector(4), Element::F32)?;
    reduce::sum_axis(&partial, Axis { first: 0, outer: 1, length: owned, inner: 1 }, &total, false)?;
    Ok((total, dout))
}

/// The tensor to bind for the noise: the given one, or anything.
fn checked<'a>(
    kernel: &'static str,
    x: &'a Tensor,
    noise: Noise<'a>,
    coefficients: &'a Tensor,
) -> Result<&'a Tensor> {
    check_shape(kernel, "the coefficients", coefficients, Shape::new(x.shape().n(), 1, 1, 4))?;
    if let Noise::Given(z) = noise {
        check_shape(kernel, "the noise", z, x.shape())?;
        check(kernel, z.element() == Element::F32, || "given noise is f32".into())?;
    }
    Ok(noise.tensor_or(coefficients))
}
