//! Probes of the device's ceilings: memory bandwidth and arithmetic.

use super::{Result, launch, shader};
use crate::gpu::{Element, Extent, Gpu, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("roofline");

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    blocks: u32,
    rounds: u32,
    a: f32,
    b: f32,
}

/// Operations of one invocation and round of [`multiply_adds`]: eight chains of four lanes, two operations
/// each.
pub const OPERATIONS: usize = 8 * 4 * 2;

/// `y = x`.
pub fn copy(x: &Tensor, y: &Tensor) -> Result<()> {
    let blocks = x.shape().vec4s();
    let params = Params { blocks: blocks as u32, rounds: 0, a: 0.0, b: 0.0 };
    let variant = Variant::new(SHADER);
    launch(x.gpu(), variant, "copy", &[x, y], &params, Extent::Invocations(blocks), blocks as u64)
}

/// `invocations` invocations of `rounds` rounds of multiply-adds from registers, [`OPERATIONS`] each.
pub fn multiply_adds(gpu: &Gpu, invocations: usize, rounds: usize) -> Result<()> {
    let results = Tensor::empty(gpu, Shape::vector(4 * invocations), Element::F32)?;
    let params = Params { blocks: invocations as u32, rounds: rounds as u32, a: 0.999, b: 0.001 };
    let variant = Variant::new(SHADER);
    let work = (invocations * rounds * OPERATIONS) as u64;
    launch(gpu, variant, "multiply_adds", &[&results], &params, Extent::Invocations(invocations), work)
}
