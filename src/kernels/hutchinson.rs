//! Hutchinson's trace estimator: probes stacked on the batch as tangents, and their inner products with their
//! images under the Jacobian.

use super::chunk::{Chunks, RUN};
use super::random::{Noise, NoiseWords, OPERATIONS_OF_A_NORMAL};
use super::reduce::{self, Axis};
use super::{Result, check_shape, launch, shader};
use crate::choice::choices;
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("hutchinson");

pub(super) fn variants() -> Vec<Variant> {
    [0, 1].map(|rademacher| Variant::new(SHADER).with("RADEMACHER", rademacher)).into()
}

choices! {
    /// The probes' distribution.
    pub enum Probe {
        /// −1 or 1: the least variance.
        Rademacher = "rademacher",
        /// Standard normal.
        Gaussian = "gaussian",
    }
}

/// The probes of a batch. The number of a drawn probe is added to the step of its key.
#[derive(Clone, Copy)]
pub struct Probes<'a> {
    /// Probes for each sample.
    pub count: usize,
    /// The distribution of drawn probes.
    pub kind: Probe,
    /// Drawn, or given as `[count · n, h, w, c]`.
    pub noise: Noise<'a>,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    noise: NoiseWords,
    cut: Chunks,
    probes: u32,
    channels: u32,
}

impl Probes<'_> {
    fn params(&self, shape: Shape) -> Params {
        Params {
            noise: self.noise.words(),
            cut: Chunks::new(shape, RUN),
            probes: self.count as u32,
            channels: shape.c() as u32,
        }
    }

    fn variant(&self) -> Variant {
        Variant::new(SHADER).with("RADEMACHER", (self.kind == Probe::Rademacher).into())
    }
}

/// The stack `[x; ε₁; …; ε_K]` for `x` `[n, h, w, c]`.
///
/// # Errors
/// If the given probes do not fit.
pub fn seed(x: &Tensor, probes: Probes<'_>) -> Result<Tensor> {
    let shape = x.shape();
    if let Noise::Given(given) = probes.noise {
        check_shape("hutchinson", "the probes", given, shape.with_n(probes.count * shape.n()))?;
    }
    let stack = Tensor::empty(x.gpu(), shape.with_n((1 + probes.count) * shape.n()), Element::F32)?;
    let owned = stack.shape().vec4s();
    let operands = [x, probes.noise.tensor_or(x), &stack];
    let (variant, params) = (probes.variant(), probes.params(shape));
    let work = (OPERATIONS_OF_A_NORMAL * owned) as u64;
    launch(x.gpu(), variant, "seed", &operands, &params, Extent::Invocations(owned), work)?;
    Ok(stack)
}

/// `ε · (J ε)` for each probe of each sample, the sum of the four lanes of `[K · n, 1, 1, 4]`, from the
/// network's output `[f(x); J ε₁; …; J ε_K]` for the stack of [`seed`].
///
/// # Errors
/// If the shapes do not fit.
pub fn contract(image: &Tensor, probes: Probes<'_>) -> Result<Tensor> {
    let rows = image.shape().n();
    let samples = rows / (1 + probes.count);
    let shape = image.shape().with_n(samples);
    check_shape("hutchinson", "the image", image, shape.with_n((1 + probes.count) * samples))?;
    let params = probes.params(shape);
    let pairs = probes.count * samples;
    let owned = probes.count * params.cut.total();
    let partial = Tensor::empty(image.gpu(), Shape::vector(4 * owned), Element::F32)?;
    let operands = [image, probes.noise.tensor_or(image), &partial];
    let variant = probes.variant().stored(image.element());
    let work = (OPERATIONS_OF_A_NORMAL * pairs * shape.sample_vec4s()) as u64;
    launch(image.gpu(), variant, "contract", &operands, &params, Extent::Invocations(owned), work)?;
    let sums = Tensor::empty(image.gpu(), Shape::new(pairs, 1, 1, 4), Element::F32)?;
    let axis = Axis { first: 0, outer: pairs, length: params.cut.chunks as usize, inner: 1 };
    reduce::sum_axis(&partial, axis, &sums, false)?;
    Ok(sums)
}
