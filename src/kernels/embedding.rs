//! Embeddings of one number per sample: sines and cosines of its products with a set of frequencies.

use super::{Result, check, launch, shader};
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("embedding");

/// About how many operations a `vec4` of sines and cosines takes.
const OPERATIONS: usize = 100;

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    samples: u32,
    width: u32,
    half: u32,
    fourier: u32,
}

/// Gaussian Fourier features (Tancik et al. 2020): `[sin 2πvW, cos 2πvW]`, for values `[n, 1, 1, 1]` and
/// weights `[1, 1, 1, m]` → `[n, 1, 1, 2m]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn fourier(values: &Tensor, weights: &Tensor) -> Result<Tensor> {
    run(values, weights, 2 * weights.shape().c(), true)
}

/// Sinusoidal position embedding (Vaswani et al. 2017): `[sin vω, cos vω]` and a zero if `width` is odd, with
/// the frequencies of [`sinusoidal_frequencies`], `[n, 1, 1, 1]` → `[n, 1, 1, width]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn sinusoidal(values: &Tensor, frequencies: &Tensor, width: usize) -> Result<Tensor> {
    run(values, frequencies, width, false)
}

/// The frequencies ωᵢ = 10000^(−i / (m − shift)), i = 0 … m − 1, m = ⌊width / 2⌋; the reference has shift 1.
pub fn sinusoidal_frequencies(width: usize, shift: f64) -> Vec<f32> {
    let half = width / 2;
    let step = -(10000f64.ln() / (half as f64 - shift)) as f32;
    (0..half).map(|i| (f64::from(i as f32 * step)).exp() as f32).collect()
}

fn run(values: &Tensor, frequencies: &Tensor, width: usize, fourier: bool) -> Result<Tensor> {
    let (n, half) = (values.shape().n(), frequencies.shape().c());
    let fits = values.shape() == Shape::new(n, 1, 1, 1)
        && frequencies.shape() == Shape::vector(half)
        && half == width / 2;
    check("embedding", fits, || {
        format!(
            "values {} and frequencies {} do not give {width} features",
            values.shape(),
            frequencies.shape()
        )
    })?;
    let y = Tensor::empty(values.gpu(), Shape::new(n, 1, 1, width), Element::F32)?;
    let params =
        Params { samples: n as u32, width: width as u32, half: half as u32, fourier: fourier.into() };
    let owned = y.shape().vec4s();
    let work = (OPERATIONS * owned) as u64;
    let variant = Variant::new(SHADER);
    launch(
        y.gpu(),
        variant,
        "embedding",
        &[values, frequencies, &y],
        &params,
        Extent::Invocations(owned),
        work,
    )?;
    Ok(y)
}
