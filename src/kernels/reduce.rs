//! Sums over an axis, in an order that depends on its length alone.

use super::{Result, check, launch, shader};
use crate::gpu::{Extent, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("reduce");

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    outer: u32,
    length: u32,
    inner: u32,
    run: u32,
    first: u32,
    accumulate: u32,
}

/// A longer axis is summed in two passes.
const LONGEST: usize = 128;

/// A view of a tensor: `[outer, length, inner]` from its `vec4` number `first` on, with `inner` counted in
/// `vec4`s.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// The start of the view, in `vec4`s.
    pub first: usize,
    /// Extent before the axis.
    pub outer: usize,
    /// Extent of the axis.
    pub length: usize,
    /// Extent after the axis, in `vec4`s.
    pub inner: usize,
}

/// `y[outer, inner] = Σ x[outer, l, inner]`, added to the contents of `y` if `accumulate`.
///
/// # Errors
/// If the view is not inside `x`, or if `y` has another size.
pub fn sum_axis(x: &Tensor, axis: Axis, y: &Tensor, accumulate: bool) -> Result<()> {
    let Axis { first, outer, length, inner } = axis;
    let inside = first + outer * length * inner <= x.shape().vec4s() && outer * inner == y.shape().vec4s();
    check("reduce", inside, || format!("{axis:?} of {} does not sum to {}", x.shape(), y.shape()))?;
    if length <= LONGEST {
        return pass(x, axis, length, y, accumulate);
    }
    // With √length runs of √length both passes are short, and the first one has many invocations.
    let run = length.isqrt();
    let runs = length.div_ceil(run);
    let partial = Tensor::empty(x.gpu(), Shape::vector(4 * outer * runs * inner), Default::default())?;
    pass(x, axis, run, &partial, false)?;
    sum_axis(&partial, Axis { first: 0, outer, length: runs, inner }, y, accumulate)
}

fn pass(x: &Tensor, axis: Axis, run: usize, y: &Tensor, accumulate: bool) -> Result<()> {
    let Axis { first, outer, length, inner } = axis;
    let params = Params {
        outer: outer as u32,
        length: length as u32,
        inner: inner as u32,
        run: run as u32,
        first: first as u32,
        accumulate: accumulate.into(),
    };
    let variant = Variant::new(SHADER).stored(x.element());
    let owned = outer * length.div_ceil(run.max(1)) * inner;
    let work = (4 * outer * length * inner) as u64; // an addition of each number
    launch(x.gpu(), variant, "sum_axis", &[x, y], &params, Extent::Invocations(owned), work)
}

/// The sum over all pixels of the first `samples` samples: `[n, h, w, c]` → `[1, 1, 1, c]`. The gradient of a
/// bias.
///
/// # Errors
/// If the shapes do not fit.
pub fn sum_pixels(x: &Tensor, samples: usize, y: &Tensor, accumulate: bool) -> Result<()> {
    let shape = x.shape();
    let axis = Axis { first: 0, outer: 1, length: samples * shape.h() * shape.w(), inner: shape.c4() };
    sum_axis(x, axis, y, accumulate)
}
