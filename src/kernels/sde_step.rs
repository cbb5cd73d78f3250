//! One fused step of a solver: a linear combination of states and network outputs, and noise.

use super::random::NoiseWords;
use super::{Result, check, check_shape, launch, shader};
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::random::{Key, Purpose};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("sde_step");

/// Tensors that one step combines, at most.
pub const MAX_TERMS: usize = 8;

/// `WIDTH` of the shader: factors of a sample in memory.
const WIDTH: usize = 12;

/// The factors of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Factors {
    /// Of each tensor; those beyond the tensors there are do not count.
    pub terms: [f64; MAX_TERMS],
    /// Of the noise; with 0 none is drawn.
    pub noise: f64,
}

impl Factors {
    /// The factors of the first tensors, and of the noise.
    pub fn new(terms: &[f64], noise: f64) -> Factors {
        let mut factors = Factors { noise, ..Factors::default() };
        factors.terms[..terms.len()].copy_from_slice(terms);
        factors
    }

    fn words(&self) -> [f32; MAX_TERMS + 1] {
        std::array::from_fn(|j| *self.terms.get(j).unwrap_or(&self.noise) as f32)
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    noise: NoiseWords,
    blocks: u32,
    sample: u32,
    channels: u32,
    factors: [f32; MAX_TERMS + 1],
}

/// `Σⱼ aⱼ xⱼ + c z` of tensors `[n, h, w, c]`, with standard normal z drawn from the key. The first tensor is f32, the others of
/// one storage type.
///
/// # Errors
/// If there is no tensor or more than [`MAX_TERMS`], or if shapes differ.
pub fn sde_step(terms: &[(&Tensor, f64)], noise: Option<(f64, Key)>) -> Result<Tensor> {
    let tensors: Vec<&Tensor> = terms.iter().map(|(tensor, _)| *tensor).collect();
    check_terms(&tensors)?;
    let factors: Vec<f64> = terms.iter().map(|(_, factor)| *factor).collect();
    run(&tensors, Factors::new(&factors, noise.map_or(0.0, |(c, _)| c)), None, noise.map(|(_, key)| key))
}

/// The same with factors of each sample's own.
///
/// # Errors
/// As those of [`sde_step`], if there are not as many factors as samples, and if noise is asked for without a key.
pub fn sde_step_each(tensors: &[&Tensor], factors: &[Factors], key: Option<Key>) -> Result<Tensor> {
    check_terms(tensors)?;
    let n = tensors[0].shape().n();
    check("sde_step", factors.len() == n, || format!("{} sets of factors for {n} samples", factors.len()))?;
    let keyed = key.is_some() || factors.iter().all(|factors| factors.noise == 0.0);
    check("sde_step", keyed, || "noise without a key".into())?;
    let row = |factors: &Factors| {
        let mut row = [0.0; WIDTH];
        row[..=MAX_TERMS].copy_from_slice(&factors.words());
        row
    };
    let rows: Vec<f32> = factors.iter().flat_map(row).collect();
    let rows = Tensor::from_slice(tensors[0].gpu(), Shape::new(n, 1, 1, WIDTH), &rows)?;
    run(tensors, Factors::default(), Some(&rows), key)
}

fn check_terms(tensors: &[&Tensor]) -> Result<()> {
    let count = tensors.len();
    check("sde_step", (1..=MAX_TERMS).contains(&count), || {
        format!("{count} tensors; a step takes 1 to {MAX_TERMS}")
    })?;
    let (shape, stored) = (tensors[0].shape(), element(tensors));
    tensors.iter().try_for_each(|tensor| check_shape("sde_step", "a term", tensor, shape))?;
    let fits =
        tensors[0].element() == Element::F32 && tensors[1..].iter().all(|tensor| tensor.element() == stored);
    check("sde_step", fits, || "the state is f32, and the other terms are stored alike".into())
}

/// How the terms after the first are stored.
fn element(tensors: &[&Tensor]) -> Element {
    tensors.get(1).map_or(Element::F32, |tensor| tensor.element())
}

fn run(tensors: &[&Tensor], factors: Factors, each: Option<&Tensor>, key: Option<Key>) -> Result<Tensor> {
    let (gpu, shape) = (tensors[0].gpu(), tensors[0].shape());
    let y = Tensor::empty(gpu, shape, Element::F32)?;
    let owned = shape.vec4s();
    let params = Params {
        noise: NoiseWords::drawn(key.unwrap_or(Key::new(0, Purpose::Predictor))),
        blocks: owned as u32,
        sample: shape.sample_vec4s() as u32,
        channels: shape.c() as u32,
        factors: factors.words(),
    };
    // Something must be bound where there is no term; nothing of it is used.
    let mut operands = [tensors[0]; MAX_TERMS];
    operands[..tensors.len()].copy_from_slice(tensors);
    let operands = [&operands[..], &[&y, each.unwrap_or(tensors[0])]].concat();
    let variant = variant(tensors.len(), each.is_some()).stored(element(tensors));
    let drawn = if key.is_some() { 400 } else { 16 * tensors.len() };
    let extent = Extent::Invocations(owned);
    launch(gpu, variant, "sde_step", &operands, &params, extent, (drawn * owned) as u64)?;
    Ok(y)
}

fn variant(terms: usize, each: bool) -> Variant {
    Variant::new(SHADER).with("TERMS", terms as u32).with("EACH", each.into())
}

pub(super) fn variants() -> Vec<Variant> {
    (1..=MAX_TERMS).flat_map(|terms| [false, true].map(|each| variant(terms, each))).collect()
}
