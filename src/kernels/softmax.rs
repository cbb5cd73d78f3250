//! Softmax over the last axis.

use super::stack::primal_samples;
use super::{Result, check_shape, launch, shader};
use crate::gpu::{Extent, Gpu, Shader, Sharing, Variant};
use crate::tensor::Tensor;
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("softmax");

/// About how many operations an element takes: an exponential, and three passes over the row.
const OPERATIONS: usize = 16;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    columns: u32,
    period: u32,
    first: u32,
}

/// Invocations of a workgroup: `WORKGROUP` of `shaders/lib/index.wgsl`.
const WORKGROUP: usize = 64;

fn run(tensors: &[&Tensor], entry: &'static str, rows: usize, params: Params) -> Result<()> {
    let (gpu, element) = (tensors[0].gpu(), tensors[0].element());
    let columns = params.columns as usize;
    let lanes = lanes(gpu, columns);
    let variant = variant(lanes).stored(element);
    let work = (OPERATIONS * params.rows as usize * columns) as u64;
    launch(gpu, variant, entry, tensors, &params, Extent::Invocations(rows * lanes), work)
}

fn variant(lanes: usize) -> Variant {
    Variant::new(SHADER).with("LANES", lanes as u32)
}

pub(super) fn variants() -> Vec<Variant> {
    (0..=WORKGROUP.ilog2()).map(|log| variant(1 << log)).collect()
}

/// Invocations that share a row: a function of its length alone, so that a row's bits do not depend on the
/// batch.
fn lanes(gpu: &Gpu, columns: usize) -> usize {
    match gpu.sharing() {
        Sharing::Workgroup => columns.div_ceil(4).next_power_of_two().min(WORKGROUP),
        Sharing::None | Sharing::Subgroup(_) => 1,
    }
}

/// The softmax of the primal of a stack with `probes` tangents, and `J ẋ` for each tangent.
///
/// # Errors
/// If the stack does not divide into samples.
pub fn forward(x: &Tensor, probes: usize) -> Result<Tensor> {
    let shape = x.shape();
    let samples = primal_samples("softmax", x, probes)?;
    let rows = samples * shape.h() * shape.w();
    let y = Tensor::empty(x.gpu(), shape, x.element())?;
    let params = Params { rows: rows as u32, columns: shape.c() as u32, period: rows as u32, first: 0 };
    run(&[x, &y], "softmax", rows, params)?;
    if probes == 0 {
        return Ok(y);
    }
    // The tangents need the primal as an input while they are written: hence a second tensor.
    let stack = Tensor::empty(x.gpu(), shape, x.element())?;
    super::layout::copy(&y, 0, &stack, 0, samples * shape.sample_vec4s())?;
    let tangents = Params { rows: (probes * rows) as u32, first: rows as u32, ..params };
    run(&[&y, x, &stack], "project", probes * rows, tangents)?;
    Ok(stack)
}

/// The adjoint, from the softmax's own output: `x̄ = J ȳ`.
///
/// # Errors
/// If the shapes do not fit.
pub fn backward(y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    check_shape("softmax", "the output's gradient", dy, y.shape())?;
    let rows = y.shape().rows();
    let dx = Tensor::empty(y.gpu(), y.shape(), y.element())?;
    let params = Params { rows: rows as u32, columns: y.shape().c() as u32, period: rows as u32, first: 0 };
    run(&[y, dy, &dx], "project", rows, params)?;
    Ok(dx)
}

/// The adjoint of [`forward`] on a stack `x` with output `y`, from the cotangents `dy` of the whole stack.
///
/// # Errors
/// If the shapes do not fit.
pub fn backward_stack(x: &Tensor, y: &Tensor, dy: &Tensor, probes: usize) -> Result<Tensor> {
    if probes == 0 {
        return backward(y, dy);
    }
    check_shape("softmax", "the output's gradient", dy, y.shape())?;
    let shape = y.shape();
    let samples = primal_samples("softmax", y, probes)?;
    let rows = samples * shape.h() * shape.w();
    let params = Params {
        rows: (probes * rows) as u32,
        columns: shape.c() as u32,
        period: rows as u32,
        first: rows as u32,
    };
    let pulled = Tensor::empty(y.gpu(), shape.with_n(samples), y.element())?;
    run(&[y, dy, x, &pulled], "curvature", rows, params)?;
    let dx = Tensor::empty(y.gpu(), shape, y.element())?;
    run(&[y, &pulled, &dx], "project", rows, Params { rows: rows as u32, first: 0, ..params })?;
    run(&[y, dy, &dx], "project", probes * rows, params)?;
    Ok(dx)
}
