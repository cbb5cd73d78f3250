//! Bilinear resampling to any size. That which maps corner pixels to corner pixels has an adjoint; it is
//! linear: its tangent is itself.

use super::{Result, check, check_shape, launch, shader};
use crate::gpu::{Extent, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("resize");

/// About how many operations a `vec4` takes: a weighted sum of four.
const OPERATIONS: usize = 16;

pub(super) fn variants() -> Vec<Variant> {
    [Align::Corners, Align::Origin, Align::Centres].map(variant).into()
}

/// The points of two images of different sizes that correspond to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// The centres of the corner pixels.
    Corners,
    /// The centres of the pixels at the top left; positions scale with the size. TensorFlow 1 resizes in this way.
    Origin,
    /// The edges of the images: pixels have half-integer centres. PyTorch resizes in this way by default.
    Centres,
}

fn variant(align: Align) -> Variant {
    Variant::new(SHADER).with("ALIGN", align as u32)
}

/// The largest extent of an image: positions are 32-bit integers.
const LARGEST: usize = 1 << 15;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    c4: u32,
}

fn run(
    align: Align,
    entry: &'static str,
    [image, resized]: [Shape; 2],
    x: &Tensor,
    to: Shape,
) -> Result<Tensor> {
    let fits = |shape: Shape| (1..=LARGEST).contains(&shape.h()) && (1..=LARGEST).contains(&shape.w());
    check("resize", fits(image) && fits(resized), || format!("{image} cannot be resampled to {resized}"))?;
    let y = Tensor::empty(x.gpu(), to, x.element())?;
    let params = Params {
        n: image.n() as u32,
        h: image.h() as u32,
        w: image.w() as u32,
        oh: resized.h() as u32,
        ow: resized.w() as u32,
        c4: image.c4() as u32,
    };
    let variant = variant(align).stored(x.element());
    let work = (OPERATIONS * (image.vec4s() + resized.vec4s())) as u64;
    launch(x.gpu(), variant, entry, &[x, &y], &params, Extent::Invocations(to.vec4s()), work)?;
    Ok(y)
}

/// `[n, h, w, c]` → `[n, rows, columns, c]`, with [`Align::Corners`].
///
/// # Errors
/// If an extent is 0 or beyond 32,768.
pub fn forward(x: &Tensor, size: [usize; 2]) -> Result<Tensor> {
    aligned(x, size, Align::Corners)
}

/// `[n, h, w, c]` → `[n, rows, columns, c]`.
///
/// # Errors
/// If an extent is 0 or beyond 32,768.
pub fn aligned(x: &Tensor, [rows, columns]: [usize; 2], align: Align) -> Result<Tensor> {
    let shape = x.shape();
    let resized = Shape::new(shape.n(), rows, columns, shape.c());
    run(align, "resize", [shape, resized], x, resized)
}

/// The adjoint: the gradient in an input of shape `x` from that of the output.
///
/// # Errors
/// If the shapes do not fit.
pub fn backward(dy: &Tensor, x: Shape) -> Result<Tensor> {
    let resized = dy.shape();
    check_shape("resize", "the output's gradient", dy, Shape::new(x.n(), resized.h(), resized.w(), x.c()))?;
    run(Align::Corners, "resize_adjoint", [x, resized], dy, x)
}
