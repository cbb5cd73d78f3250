//! Max pooling with stride 1, its adjoint and its tangent: with the positions of the maxima fixed, it is
//! linear.

use super::stack::primal_samples;
use super::{Result, check, check_shape, launch, shader};
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("max_pool");

/// About how many operations a `vec4` of a window takes: comparisons and selections.
const OPERATIONS: usize = 8;

pub(super) fn variants() -> Vec<Variant> {
    vec![Variant::new(SHADER)]
}

/// A square window that moves over the image in steps of one pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool {
    /// The window's side, 1 to 15 pixels.
    pub window: usize,
    /// Padding on every side, less than `window`; padded pixels are never the largest.
    pub pad: usize,
}

impl MaxPool {
    /// A window of odd size centred on each pixel.
    pub fn around(window: usize) -> Self {
        MaxPool { window, pad: window / 2 }
    }

    /// The shape of the output for an input `x`.
    ///
    /// # Errors
    /// If the window or its padding is out of range, or if it is larger than the padded image.
    pub fn output(&self, x: Shape) -> Result<Shape> {
        let MaxPool { window, pad } = *self;
        check("max_pool", (1..=15).contains(&window) && pad < window, || {
            format!(
                "a window of {window} with a padding of {pad}; the window is 1 to 15 and the padding smaller"
            )
        })?;
        let extent = |size: usize| (size + 2 * pad + 1).saturating_sub(window);
        let y = Shape::new(x.n(), extent(x.h()), extent(x.w()), x.c());
        check("max_pool", !y.is_empty(), || format!("a window of {window} does not fit into {x}"))?;
        Ok(y)
    }
}

/// The position of each maximum in its window, one byte for every pooled pixel and channel.
#[derive(Clone)]
pub struct Choices {
    words: Tensor,
    samples: usize,
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
    pad: u32,
    period: u32,
}

impl Params {
    fn new(spec: &MaxPool, image: Shape, pooled: Shape, period: usize) -> Params {
        Params {
            n: image.n() as u32,
            h: image.h() as u32,
            w: image.w() as u32,
            oh: pooled.h() as u32,
            ow: pooled.w() as u32,
            c4: image.c4() as u32,
            window: spec.window as u32,
            pad: spec.pad as u32,
            period: period as u32,
        }
    }

    fn run(self, entry: &'static str, tensors: &[&Tensor], owned: usize, loads: usize) -> Result<()> {
        let x = tensors[0];
        let variant = Variant::new(SHADER).stored(x.element());
        launch(
            x.gpu(),
            variant,
            entry,
            tensors,
            &self,
            Extent::Invocations(owned),
            (OPERATIONS * owned * loads) as u64,
        )
    }
}

/// `[n, h, w, c]` → `[n, h′, w′, c]`, and the positions of the maxima. The tangents of a stack use their
/// primal's positions.
///
/// # Errors
/// If the window does not fit, or if the stack does not divide into samples.
pub fn forward(x: &Tensor, spec: &MaxPool, probes: usize) -> Result<(Tensor, Choices)> {
    let shape = spec.output(x.shape())?;
    let samples = primal_samples("max_pool", x, probes)?;
    let words = Tensor::empty(x.gpu(), Shape::vector(samples * shape.sample_vec4s()), Element::F32)?;
    let params = Params::new(spec, x.shape(), shape, samples);
    params.run("choose", &[x, &words], samples * shape.sample_vec4s(), spec.window * spec.window)?;
    let y = Tensor::empty(x.gpu(), shape, x.element())?;
    params.run("pick", &[x, &words, &y], shape.vec4s(), 4)?;
    Ok((y, Choices { words, samples }))
}

/// The adjoint of [`forward`] at its [`Choices`], for a whole stack: the gradient in an input of shape `x`.
///
/// # Errors
/// If the shapes do not fit.
pub fn backward(dy: &Tensor, x: Shape, choices: &Choices, spec: &MaxPool) -> Result<Tensor> {
    let shape = spec.output(x)?;
    check_shape("max_pool", "the output's gradient", dy, shape)?;
    let Choices { words, samples } = choices;
    let held = Shape::vector(samples * shape.sample_vec4s());
    let fits = words.shape() == held && x.n().is_multiple_of(*samples);
    check("max_pool", fits, || format!("the choices are not those of {x}"))?;
    let dx = Tensor::empty(dy.gpu(), x, dy.element())?;
    let params = Params::new(spec, x, shape, *samples);
    params.run("return_picked", &[dy, words, &dx], x.vec4s(), 2 * spec.window * spec.window)?;
    Ok(dx)
}
