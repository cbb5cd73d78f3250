//! Mean and max pooling with any stride, without derivatives: for networks that are only evaluated. Pixels
//! outside of the image do not count. [`max_pool`](super::max_pool) has an adjoint and a tangent.

use super::{Result, check, launch, shader};
use crate::gpu::{Extent, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("pool");

pub(super) fn variants() -> Vec<Variant> {
    [0, 1].map(|largest| Variant::new(SHADER).with("LARGEST", largest)).into()
}

/// The value that represents a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooled {
    /// The mean.
    Mean,
    /// The largest.
    Largest,
}

/// A square window that moves over the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// The value that represents a window.
    pub pooled: Pooled,
    /// The window's side, 1 to 255 pixels.
    pub window: usize,
    /// Step between output pixels, in input pixels.
    pub stride: usize,
    /// Pixels by which the windows may reach beyond every side, less than `window`.
    pub pad: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    c4: u32,
    window: u32,
    stride: u32,
    pad: u32,
}

impl Pool {
    /// The shape of the output for an input `x`.
    ///
    /// # Errors
    /// If window, stride or padding are out of range, or if the window is larger than the padded image.
    pub fn output(&self, x: Shape) -> Result<Shape> {
        let Pool { window, stride, pad, .. } = *self;
        check("pool", (1..=255).contains(&window) && stride > 0 && pad < window, || {
            format!("a window of {window} with a stride of {stride} and a padding of {pad}")
        })?;
        let extent = |size: usize| (size + 2 * pad).checked_sub(window).map(|room| room / stride + 1);
        match (extent(x.h()), extent(x.w())) {
            (Some(h), Some(w)) => Ok(Shape::new(x.n(), h, w, x.c())),
            _ => check("pool", false, || format!("a window of {window} does not fit into {x}")).map(|()| x),
        }
    }
}

/// `[n, h, w, c]` → `[n, h′, w′, c]`.
///
/// # Errors
/// If the window does not fit.
pub fn forward(x: &Tensor, spec: &Pool) -> Result<Tensor> {
    let (image, pooled) = (x.shape(), spec.output(x.shape())?);
    let y = Tensor::empty(x.gpu(), pooled, x.element())?;
    let params = Params {
        n: image.n() as u32,
        h: image.h() as u32,
        w: image.w() as u32,
        oh: pooled.h() as u32,
        ow: pooled.w() as u32,
        c4: image.c4() as u32,
        window: spec.window as u32,
        stride: spec.stride as u32,
        pad: spec.pad as u32,
    };
    let variant = Variant::new(SHADER).with("LARGEST", u32::from(spec.pooled == Pooled::Largest));
    let work = (4 * pooled.vec4s() * spec.window * spec.window) as u64;
    let extent = Extent::Invocations(pooled.vec4s());
    launch(x.gpu(), variant.stored(x.element()), "pool", &[x, &y], &params, extent, work)?;
    Ok(y)
}
