//! Copies: concatenation along channels and its adjoint, the slice; samples taken, stacked and set to zero.

use super::{Result, check, launch, shader};
use crate::gpu::{Element, Extent, Gpu, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("layout");

pub(super) fn variants() -> Vec<Variant> {
    [0, 1].map(|aligned| Variant::new(SHADER).with("ALIGNED", aligned)).into()
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    first: u32,
    second: u32,
    a: u32,
    b: u32,
}

fn variant(x: &Tensor, aligned: bool) -> Variant {
    Variant::new(SHADER).with("ALIGNED", aligned.into()).stored(x.element())
}

/// `[n, h, w, c_a]` and `[n, h, w, c_b]` → `[n, h, w, c_a + c_b]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn concat(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (c_a, c_b) = (a.shape().c(), b.shape().c());
    let fits = a.shape().with_c(c_b) == b.shape() && a.element() == b.element();
    check("concat", fits, || format!("{} and {} differ in more than channels", a.shape(), b.shape()))?;
    let y = Tensor::empty(a.gpu(), a.shape().with_c(c_a + c_b), a.element())?;
    let params = Params { rows: a.shape().rows() as u32, first: 0, second: 0, a: c_a as u32, b: c_b as u32 };
    let owned = y.shape().vec4s();
    launch(
        a.gpu(),
        variant(a, c_a % 4 == 0),
        "concat",
        &[a, b, &y],
        &params,
        Extent::Invocations(owned),
        owned as u64,
    )?;
    Ok(y)
}

/// Channels `first .. first + count` of `[n, h, w, c]`.
///
/// # Errors
/// If there are no such channels.
pub fn slice(x: &Tensor, first: usize, count: usize) -> Result<Tensor> {
    let shape = x.shape();
    check("slice", first + count <= shape.c(), || {
        format!("{shape} has no channels {first} .. {}", first + count)
    })?;
    let y = Tensor::empty(x.gpu(), shape.with_c(count), x.element())?;
    let params = Params {
        rows: shape.rows() as u32,
        first: first as u32,
        second: 0,
        a: shape.c() as u32,
        b: count as u32,
    };
    let owned = y.shape().vec4s();
    // A slice that ends inside a block must leave the rest of it zero.
    let aligned = first.is_multiple_of(4) && (count.is_multiple_of(4) || first + count == shape.c());
    launch(
        x.gpu(),
        variant(x, aligned),
        "slice",
        &[x, &y],
        &params,
        Extent::Invocations(owned),
        owned as u64,
    )?;
    Ok(y)
}

/// Copies `count` `vec4`s of `x`, from number `from` on, to those of `y` from number `to` on.
///
/// # Errors
/// If either range does not exist.
pub fn copy(x: &Tensor, from: usize, y: &Tensor, to: usize, count: usize) -> Result<()> {
    let inside = from + count <= x.shape().vec4s() && to + count <= y.shape().vec4s();
    check("copy", inside && x.element() == y.element(), || {
        format!("cannot copy {count} blocks from {from} of {} to {to} of {}", x.shape(), y.shape())
    })?;
    let params = Params { rows: count as u32, first: from as u32, second: to as u32, a: 0, b: 0 };
    launch(x.gpu(), variant(x, false), "copy", &[x, y], &params, Extent::Invocations(count), count as u64)
}

/// Samples `first .. first + count`.
///
/// # Errors
/// If there are no such samples.
pub fn samples(x: &Tensor, first: usize, count: usize) -> Result<Tensor> {
    let y = Tensor::empty(x.gpu(), x.shape().with_n(count), x.element())?;
    let size = x.shape().sample_vec4s();
    copy(x, first * size, &y, 0, count * size)?;
    Ok(y)
}

/// The samples of all parts, in order.
///
/// # Errors
/// If they differ in more than the number of samples, or if there are none.
pub fn stack(parts: &[&Tensor]) -> Result<Tensor> {
    let first = parts.first().map(|part| part.shape());
    let n = parts.iter().map(|part| part.shape().n()).sum();
    let fits = first.is_some_and(|first| parts.iter().all(|part| part.shape().with_n(n) == first.with_n(n)));
    check("stack", fits, || "the parts of a stack differ in shape".into())?;
    let y = Tensor::empty(parts[0].gpu(), parts[0].shape().with_n(n), parts[0].element())?;
    let mut at = 0;
    for part in parts {
        copy(part, 0, &y, at, part.shape().vec4s())?;
        at += part.shape().vec4s();
    }
    Ok(y)
}

/// The samples of `[a; b]` with the numbers `picks`, in that order; numbers may repeat.
///
/// # Errors
/// If `a` and `b` differ in more than the number of samples, or if there is no such sample.
pub fn gather(a: &Tensor, b: &Tensor, picks: &[usize]) -> Result<Tensor> {
    let (n_a, n_b) = (a.shape().n(), b.shape().n());
    let fits = a.shape().with_n(n_b) == b.shape() && a.element() == b.element();
    check("gather", fits && picks.iter().all(|pick| *pick < n_a + n_b), || {
        format!("there are no samples {picks:?} in {} and {}", a.shape(), b.shape())
    })?;
    let y = Tensor::empty(a.gpu(), a.shape().with_n(picks.len()), a.element())?;
    let numbers: Vec<f32> = picks.iter().map(|pick| f32::from_bits(*pick as u32)).collect();
    let numbers = Tensor::from_slice(a.gpu(), Shape::vector(picks.len()), &numbers)?;
    let size = a.shape().sample_vec4s();
    let params = Params { rows: picks.len() as u32, first: n_a as u32, second: size as u32, a: 0, b: 0 };
    let owned = picks.len() * size;
    let extent = Extent::Invocations(owned);
    launch(a.gpu(), variant(a, false), "gather", &[a, b, &numbers, &y], &params, extent, owned as u64)?;
    Ok(y)
}

/// Zeros of a shape.
pub fn zeros(gpu: &Gpu, shape: Shape, element: Element) -> Result<Tensor> {
    let y = Tensor::empty(gpu, shape, element)?;
    zero(&y, 0, shape.vec4s())?;
    Ok(y)
}

/// Zeros of the shape and the storage type of `x`.
pub fn zeros_like(x: &Tensor) -> Result<Tensor> {
    zeros(x.gpu(), x.shape(), x.element())
}

/// `x` followed by samples of zeros, `n` in all.
///
/// # Errors
/// If `x` has more samples than `n`.
pub fn extend(x: &Tensor, n: usize) -> Result<Tensor> {
    let y = Tensor::empty(x.gpu(), x.shape().with_n(n), x.element())?;
    let held = x.shape().vec4s();
    copy(x, 0, &y, 0, held)?;
    zero(&y, held, y.shape().vec4s() - held)?;
    Ok(y)
}

/// Sets `count` `vec4`s of `y`, from number `from` on, to zero.
///
/// # Errors
/// If `y` has fewer.
pub fn zero(y: &Tensor, from: usize, count: usize) -> Result<()> {
    check("zero", from + count <= y.shape().vec4s(), || {
        format!("{} ends before {from} + {count}", y.shape())
    })?;
    let params = Params { rows: count as u32, first: 0, second: from as u32, a: 0, b: 0 };
    launch(y.gpu(), variant(y, false), "zero", &[y], &params, Extent::Invocations(count), count as u64)
}
