//! One number per sample: inner products, and errors in units of their tolerance. And samples scaled to a
//! given norm.

use super::chunk::{Chunks, RUN};
use super::reduce::{self, Axis};
use super::{Result, check, check_shape, launch, shader};
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("inner_product");

/// About how many operations a `vec4` takes.
const OPERATIONS: usize = 32;

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    cut: Chunks,
    rtol: f32,
    atol: f32,
    norm: f32,
}

impl Params {
    fn new(shape: Shape) -> Params {
        Params { cut: Chunks::new(shape, RUN), ..Zeroable::zeroed() }
    }
}

/// Σ a b over each sample of `[n, h, w, c]`: the sum of the four lanes of `[n, 1, 1, 4]` (see [`lanes`]).
///
/// # Errors
/// If the shapes differ.
pub fn inner_product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    run("inner", &[a, b], 0.0, 0.0)
}

/// Σ (e / (atol + rtol max(|a|, |b|)))² over each sample of `[n, h, w, c]`, `[n, 1, 1, 4]` as in
/// [`inner_product`]: the square of the error `e` of a step from `a` to `b`.
///
/// # Errors
/// If the shapes differ.
pub fn scaled_error(a: &Tensor, b: &Tensor, e: &Tensor, rtol: f64, atol: f64) -> Result<Tensor> {
    run("scaled_error", &[a, b, e], rtol, atol)
}

/// Each sample of `a` `[n, h, w, c]` scaled to the norm `norm`.
///
/// # Errors
/// If `a` is not f32.
pub fn normalise(a: &Tensor, norm: f64) -> Result<Tensor> {
    let squares = inner_product(a, a)?;
    let y = Tensor::empty(a.gpu(), a.shape(), Element::F32)?;
    let owned = a.shape().vec4s();
    let params = Params { norm: norm as f32, ..Params::new(a.shape()) };
    let variant = Variant::new(SHADER);
    let (extent, work) = (Extent::Invocations(owned), (OPERATIONS * owned) as u64);
    launch(a.gpu(), variant, "normalise", &[a, &squares, &y], &params, extent, work)?;
    Ok(y)
}

/// Reads back one number per sample, the sum of its four lanes. Waits for the device.
///
/// # Errors
/// An error of the device.
pub fn lanes(sums: &Tensor) -> Result<Vec<f64>> {
    let values = sums.read()?;
    Ok(values.chunks(4).map(|lanes| lanes.iter().map(|v| f64::from(*v)).sum()).collect())
}

fn run(entry: &'static str, tensors: &[&Tensor], rtol: f64, atol: f64) -> Result<Tensor> {
    let (gpu, shape) = (tensors[0].gpu(), tensors[0].shape());
    for tensor in tensors {
        check_shape("inner_product", "an operand", tensor, shape)?;
        check("inner_product", tensor.element() == Element::F32, || "the operands are f32".into())?;
    }
    let params = Params { rtol: rtol as f32, atol: atol as f32, ..Params::new(shape) };
    let owned = params.cut.total();
    let partial = Tensor::empty(gpu, Shape::vector(4 * owned), Element::F32)?;
    let operands = [tensors, &[&partial]].concat();
    let variant = Variant::new(SHADER);
    let work = (OPERATIONS * shape.vec4s()) as u64;
    launch(gpu, variant, entry, &operands, &params, Extent::Invocations(owned), work)?;
    let sums = Tensor::empty(gpu, Shape::new(shape.n(), 1, 1, 4), Element::F32)?;
    let axis = Axis { first: 0, outer: shape.n(), length: params.cut.chunks as usize, inner: 1 };
    reduce::sum_axis(&partial, axis, &sums, false)?;
    Ok(sums)
}
