//! The Metropolis–Hastings test of each sample (Metropolis et al. 1953, Hastings 1970).

use super::random::{NoiseWords, OPERATIONS_OF_BITS};
use super::{Result, check, check_shape, launch, shader};
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::random::Key;
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("metropolis");

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    noise: NoiseWords,
    blocks: u32,
    sample: u32,
}

/// For each sample the proposal in `y` with probability min(1, exp(log ratio)), else the state in `x`, both
/// `[n, h, w, c]`. The log ratio of a sample is the sum of its four lanes of `log_ratio`, `[n, 1, 1, 4]`, as
/// in [`inner_product`](super::inner_product::inner_product); a NaN rejects. `accepted`, a vector of length
/// `n`, counts each sample's acceptances. The uniform numbers are drawn from `key`.
///
/// # Errors
/// If the shapes do not fit, or if the operands are not f32.
pub fn metropolis(x: &Tensor, y: &Tensor, log_ratio: &Tensor, accepted: &Tensor, key: Key) -> Result<Tensor> {
    let (gpu, shape) = (x.gpu(), x.shape());
    check_shape("metropolis", "the proposal", y, shape)?;
    check_shape("metropolis", "the logarithm of the ratio", log_ratio, Shape::new(shape.n(), 1, 1, 4))?;
    check_shape("metropolis", "the count", accepted, Shape::vector(shape.n()))?;
    let wide = [x, y, log_ratio, accepted].iter().all(|tensor| tensor.element() == Element::F32);
    check("metropolis", wide, || "the operands are f32".into())?;
    let chosen = Tensor::empty(gpu, shape, Element::F32)?;
    let owned = shape.vec4s();
    let params =
        Params { noise: NoiseWords::drawn(key), blocks: owned as u32, sample: shape.sample_vec4s() as u32 };
    let operands = [x, y, log_ratio, &chosen, accepted];
    let variant = Variant::new(SHADER);
    let extent = Extent::Invocations(owned);
    let work = (OPERATIONS_OF_BITS * owned) as u64;
    launch(gpu, variant, "metropolis", &operands, &params, extent, work)?;
    Ok(chosen)
}
