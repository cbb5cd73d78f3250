//! Tensors of noise, and the noise source of the kernels that draw their own.

use super::{Result, launch, shader};
use crate::gpu::{Element, Extent, Gpu, Shader, Variant};
use crate::random::Key;
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("random");

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

/// About how many operations a `vec4` of random words takes: ten rounds of Philox.
pub(super) const OPERATIONS_OF_BITS: usize = 300;
/// About how many a `vec4` of normal numbers takes: its words, and two logarithms, roots, sines and cosines.
pub(super) const OPERATIONS_OF_A_NORMAL: usize = 400;

/// The source of a kernel's noise.
#[derive(Clone, Copy)]
pub enum Noise<'a> {
    /// The kernel draws it from this key.
    Drawn(Key),
    /// The kernel reads it from this tensor.
    Given(&'a Tensor),
}

impl<'a> Noise<'a> {
    /// The tensor for the binding of given noise: the noise itself, or a placeholder that is not read.
    pub(super) fn tensor_or(self, other: &'a Tensor) -> &'a Tensor {
        match self {
            Noise::Drawn(_) => other,
            Noise::Given(tensor) => tensor,
        }
    }

    pub(super) fn words(self) -> NoiseWords {
        match self {
            Noise::Drawn(key) => NoiseWords::drawn(key),
            Noise::Given(_) => NoiseWords([0, 0, 0, 0, 0, 1]),
        }
    }
}

/// `Noise` of `shaders/lib/noise.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct NoiseWords([u32; 6]);

impl NoiseWords {
    pub(super) fn drawn(key: Key) -> Self {
        let [seed0, seed1, purpose, step, first] = key.words();
        NoiseWords([seed0, seed1, purpose, step, first, 0])
    }
}

/// A distribution of independent numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// Uniform on [low, high).
    Uniform {
        /// The lower end.
        low: f32,
        /// The upper end.
        high: f32,
    },
    /// Normal with mean 0.
    Normal {
        /// The standard deviation.
        std: f32,
    },
    /// −1 or 1.
    Rademacher,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    noise: NoiseWords,
    blocks: u32,
    sample: u32,
    channels: u32,
    kind: u32,
    scale: f32,
    shift: f32,
}

fn params(key: Key, shape: Shape, kind: u32, scale: f32, shift: f32) -> Params {
    Params {
        noise: NoiseWords::drawn(key),
        blocks: shape.vec4s() as u32,
        sample: shape.sample_vec4s() as u32,
        channels: shape.c() as u32,
        kind,
        scale,
        shift,
    }
}

/// A tensor of noise of the given shape, in f32.
pub fn fill(gpu: &Gpu, shape: Shape, key: Key, distribution: Distribution) -> Result<Tensor> {
    let (kind, scale, shift) = match distribution {
        Distribution::Uniform { low, high } => (0, high - low, low),
        Distribution::Normal { std } => (1, std, 0.0),
        Distribution::Rademacher => (2, 1.0, 0.0),
    };
    let y = Tensor::empty(gpu, shape, Element::F32)?;
    let params = params(key, shape, kind, scale, shift);
    let owned = shape.vec4s();
    let work = (OPERATIONS_OF_A_NORMAL * owned) as u64;
    launch(gpu, Variant::new(SHADER), "random", &[&y], &params, Extent::Invocations(owned), work)?;
    Ok(y)
}

/// The generator's words for `samples` samples of `blocks` blocks of four words each. Waits for the device.
pub fn bits(gpu: &Gpu, samples: usize, blocks: usize, key: Key) -> Result<Vec<u32>> {
    let shape = Shape::new(samples, 1, 1, 4 * blocks);
    let y = Tensor::empty(gpu, shape, Element::F32)?;
    let owned = shape.vec4s();
    let params = params(key, shape, 0, 0.0, 0.0);
    launch(
        gpu,
        Variant::new(SHADER),
        "bits",
        &[&y],
        &params,
        Extent::Invocations(owned),
        (OPERATIONS_OF_BITS * owned) as u64,
    )?;
    let binding = y.binding();
    Ok(bytemuck::pod_collect_to_vec(&gpu.download(binding.buffer, binding.offset, binding.size)?))
}
