//! One fused step of a reverse-time SDE.

use super::random::NoiseWords;
use super::{Result, check_shape, launch};
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::random::Key;
use crate::tensor::Tensor;
use bytemuck::{Pod, Zeroable};

/// The factors of `a · x + b · net + c · z`; with `c = 0` no noise is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Factor of the state.
    pub a: f64,
    /// Factor of the network's output.
    pub b: f64,
    /// Factor of the noise.
    pub c: f64,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    noise: NoiseWords,
    blocks: u32,
    sample: u32,
    channels: u32,
    a: f32,
    b: f32,
    c: f32,
}

/// `a · x + b · net + c · z` with standard normal z drawn from `key`, `[n, h, w, c]`.
///
/// # Errors
/// If the shapes differ, or the device refuses.
pub fn sde_step(x: &Tensor, net: &Tensor, step: Step, key: Key) -> Result<Tensor> {
    let shape = x.shape();
    check_shape("sde_step", "the network's output", net, shape)?;
    let y = Tensor::empty(x.gpu(), shape, Element::F32)?;
    let owned = shape.vec4s();
    let params = Params {
        noise: NoiseWords::drawn(key),
        blocks: owned as u32,
        sample: shape.sample_vec4s() as u32,
        channels: shape.c() as u32,
        a: step.a as f32,
        b: step.b as f32,
        c: step.c as f32,
    };
    let variant = Variant::new(Shader::SdeStep).stored(net.element());
    let work = 400 * owned as u64;
    launch(x.gpu(), variant, "sde_step", &[x, net, &y], &params, Extent::Invocations(owned), work)?;
    Ok(y)
}
