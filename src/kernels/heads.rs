//! Heads of attention: the channels of a sample as samples of their own, and back. Each is the other's adjoint.

use super::{Result, check, launch, shader};
use crate::gpu::{Extent, Shader, Variant};
use crate::tensor::Tensor;
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("heads");

pub(super) fn variants() -> Vec<Variant> {
    [0, 1].map(|aligned| Variant::new(SHADER).with("ALIGNED", aligned)).into()
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    samples: u32,
    pixels: u32,
    heads: u32,
    channels: u32,
}

/// `[n, h, w, heads · c]` → `[n · heads, h, w, c]`: sample i · heads + j holds the j-th part of sample i's channels.
///
/// # Errors
/// If the channels do not divide into so many heads.
pub fn split(x: &Tensor, heads: usize) -> Result<Tensor> {
    let shape = x.shape();
    check("heads", heads > 0 && shape.c().is_multiple_of(heads), || {
        format!("the channels of {shape} do not divide into {heads} heads")
    })?;
    let channels = shape.c() / heads;
    let y = Tensor::empty(x.gpu(), shape.with_n(shape.n() * heads).with_c(channels), x.element())?;
    run("split", x, &y, [shape.n(), heads, channels])?;
    Ok(y)
}

/// The inverse of [`split`].
///
/// # Errors
/// If the samples do not divide into so many heads.
pub fn merge(x: &Tensor, heads: usize) -> Result<Tensor> {
    let shape = x.shape();
    check("heads", heads > 0 && shape.n().is_multiple_of(heads), || {
        format!("the samples of {shape} do not divide into {heads} heads")
    })?;
    let n = shape.n() / heads;
    let y = Tensor::empty(x.gpu(), shape.with_n(n).with_c(shape.c() * heads), x.element())?;
    run("merge", x, &y, [n, heads, shape.c()])?;
    Ok(y)
}

fn run(entry: &'static str, x: &Tensor, y: &Tensor, [samples, heads, channels]: [usize; 3]) -> Result<()> {
    let aligned = channels.is_multiple_of(4);
    let variant = Variant::new(SHADER).with("ALIGNED", aligned.into()).stored(x.element());
    let pixels = x.shape().h() * x.shape().w();
    let [samples, pixels, heads, channels] = [samples, pixels, heads, channels].map(|extent| extent as u32);
    let params = Params { samples, pixels, heads, channels };
    let owned = y.shape().vec4s();
    launch(x.gpu(), variant, entry, &[x, y], &params, Extent::Invocations(owned), owned as u64)
}
