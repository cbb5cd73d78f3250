//! One step of Langevin dynamics, with the step size set by a signal-to-noise ratio (Song 2021, algorithms 4
//! and 5).

use super::chunk::{Chunks, RUN};
use super::random::{NoiseWords, OPERATIONS_OF_A_NORMAL};
use super::{Result, check_shape, launch, shader};
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::random::Key;
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("langevin");

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

/// The step size ε = 2 α (snr ‖z‖ / ‖g‖)², with the score g = `score_scale` · net.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Langevin {
    /// The target signal-to-noise ratio.
    pub snr: f64,
    /// 1 for VE; 1 − βᵢ for VP.
    pub alpha: f64,
    /// Factor from the network's output to the score.
    pub score_scale: f64,
    /// Average both norms over the batch, as the reference does; a sample then depends on its batch.
    pub batch_norms: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    noise: NoiseWords,
    cut: Chunks,
    channels: u32,
    batch: u32,
    score_scale: f32,
    snr: f32,
    alpha: f32,
}

/// The most chunks of a sample: one invocation adds them up.
const MAX_CHUNKS: usize = 4096;

/// `x + ε g + √(2ε) z` with standard normal z drawn from `key`, `[n, h, w, c]`. Norms and ε stay on the
/// device.
///
/// # Errors
/// If the shapes differ.
pub fn langevin(x: &Tensor, net: &Tensor, spec: Langevin, key: Key) -> Result<Tensor> {
    let (gpu, shape) = (x.gpu(), x.shape());
    check_shape("langevin", "the network's output", net, shape)?;
    let run = RUN.max(shape.sample_vec4s().div_ceil(MAX_CHUNKS));
    let params = Params {
        noise: NoiseWords::drawn(key),
        cut: Chunks::new(shape, run),
        channels: shape.c() as u32,
        batch: spec.batch_norms.into(),
        score_scale: spec.score_scale as f32,
        snr: spec.snr as f32,
        alpha: spec.alpha as f32,
    };
    let scratch = |len: usize| Tensor::empty(gpu, Shape::vector(len), Element::F32);
    let chunks = params.cut.total();
    let (partial, norms, steps) = (scratch(2 * chunks)?, scratch(2 * shape.n())?, scratch(shape.n())?);
    let y = Tensor::empty(gpu, shape, Element::F32)?;
    let pass = |entry, tensors: &[&Tensor], owned: usize, cost: usize| {
        let variant = Variant::new(SHADER).stored(net.element());
        launch(gpu, variant, entry, tensors, &params, Extent::Invocations(owned), (owned * cost) as u64)
    };
    pass("norms", &[net, &partial], chunks, OPERATIONS_OF_A_NORMAL * run)?;
    pass("combine", &[&partial, &norms], shape.n(), params.cut.chunks as usize)?;
    pass("step_size", &[&norms, &steps], shape.n(), shape.n())?;
    pass("langevin", &[x, net, &steps, &y], shape.vec4s(), OPERATIONS_OF_A_NORMAL)?;
    Ok(y)
}
