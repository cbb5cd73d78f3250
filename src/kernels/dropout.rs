//! Dropout. The mask is a function of the key and is drawn again at each use, so the adjoint and the tangent
//! are the same call.

use super::random::{NoiseWords, OPERATIONS_OF_BITS};
use super::{Result, check, launch, shader};
use crate::gpu::{Extent, Shader, Variant};
use crate::random::Key;
use crate::tensor::Tensor;
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("dropout");

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    noise: NoiseWords,
    blocks: u32,
    sample: u32,
    period: u32,
    rate: f32,
}

/// `x / (1 − rate)` where the mask keeps an element, 0 elsewhere. Sample `i` has the mask of sample `i mod
/// period`: with `period` samples in the primal of a stack, its tangents share the primal's masks.
///
/// # Errors
/// If the rate is not in [0, 1).
pub fn dropout(x: &Tensor, rate: f32, key: Key, period: usize) -> Result<Tensor> {
    check("dropout", (0.0..1.0).contains(&rate), || format!("a rate of {rate} is not in [0, 1)"))?;
    let y = Tensor::empty(x.gpu(), x.shape(), x.element())?;
    let owned = x.shape().vec4s();
    let params = Params {
        noise: NoiseWords::drawn(key),
        blocks: owned as u32,
        sample: x.shape().sample_vec4s() as u32,
        period: period as u32,
        rate,
    };
    let variant = Variant::new(SHADER).stored(x.element());
    let work = (OPERATIONS_OF_BITS * owned) as u64;
    launch(x.gpu(), variant, "dropout", &[x, &y], &params, Extent::Invocations(owned), work)?;
    Ok(y)
}
