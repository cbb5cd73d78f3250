//! Imputation: observed values replace a part of the state.

use super::random::{NoiseWords, OPERATIONS_OF_A_NORMAL};
use super::{Result, check, launch, shader};
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::random::Key;
use crate::sde::Marginal;
use crate::tensor::Tensor;
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("impute");

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    noise: NoiseWords,
    blocks: u32,
    sample: u32,
    known_period: u32,
    mask_period: u32,
    mean: f32,
    std: f32,
}

/// `m x₀ + s z` where `mask` is 1 and `x` where it is 0, `[n, h, w, c]` in f32, with the observed values x₀ =
/// `known`, m and s from `at`, and standard normal z drawn from `key`. With m = 1 and s = 0 the observed
/// values are kept bit for bit. `known` and `mask` repeat if they have fewer samples than `x`.
///
/// # Errors
/// If the shapes do not fit.
pub fn impute(x: &Tensor, known: &Tensor, mask: &Tensor, at: Marginal, key: Key) -> Result<Tensor> {
    let shape = x.shape();
    for (name, tensor) in [("the observed values", known), ("the mask", mask)] {
        let n = tensor.shape().n();
        let fits = tensor.shape().with_n(shape.n()) == shape && n > 0 && shape.n().is_multiple_of(n);
        check("impute", fits, || format!("{name} are {}, the state is {shape}", tensor.shape()))?;
    }
    let stored = [x, known, mask].iter().all(|tensor| tensor.element() == Element::F32);
    check("impute", stored, || "the operands are f32".into())?;
    let y = Tensor::empty(x.gpu(), shape, Element::F32)?;
    let owned = shape.vec4s();
    let params = Params {
        noise: NoiseWords::drawn(key),
        blocks: owned as u32,
        sample: shape.sample_vec4s() as u32,
        known_period: known.shape().vec4s() as u32,
        mask_period: mask.shape().vec4s() as u32,
        mean: at.mean as f32,
        std: at.std as f32,
    };
    let operands = [x, known, mask, &y];
    let extent = Extent::Invocations(owned);
    let work = (OPERATIONS_OF_A_NORMAL * owned) as u64;
    launch(x.gpu(), Variant::new(SHADER), "impute", &operands, &params, extent, work)?;
    Ok(y)
}
