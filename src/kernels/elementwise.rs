//! Elementwise kernels: activations, sums, scalings.

use super::reduce::{self, Axis};
use super::stack::primal_samples;
use super::{Result, check, check_shape, launch, shader};
use crate::gpu::{Element, Extent, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("elementwise");

/// About how many operations a `vec4` takes.
const OPERATIONS: usize = 16;

/// A pointwise nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// u
    Identity,
    /// u σ(u), also called SiLU
    Swish,
    /// u, and e^u − 1 below 0
    Elu,
    /// max(u, 0)
    Relu,
    /// u, and 0.2 u below 0
    LeakyRelu,
}

impl Activation {
    /// All of them.
    pub(super) const ALL: [Activation; 5] =
        [Activation::Identity, Activation::Swish, Activation::Elu, Activation::Relu, Activation::LeakyRelu];

    /// The value of `ACT` in `shaders/lib/activation.wgsl`.
    pub(super) fn code(self) -> u32 {
        self as u32
    }
}

#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Params {
    blocks: u32,
    other: u32,
    sample: u32,
    channels: u32,
    alpha: f32,
    beta: f32,
}

impl Params {
    fn of(shape: Shape) -> Params {
        Params {
            blocks: shape.vec4s() as u32,
            sample: shape.sample_vec4s() as u32,
            channels: shape.c() as u32,
            ..Default::default()
        }
    }
}

fn run(entry: &'static str, act: Activation, tensors: &[&Tensor], params: Params) -> Result<()> {
    let x = tensors[0];
    let variant = Variant::new(SHADER).with("ACT", act.code()).stored(x.element());
    let owned = params.blocks as usize;
    launch(x.gpu(), variant, entry, tensors, &params, Extent::Invocations(owned), (OPERATIONS * owned) as u64)
}

pub(super) fn variants() -> Vec<Variant> {
    let variant = |act: Activation| Variant::new(SHADER).with("ACT", act.code());
    Activation::ALL.map(variant).into()
}

/// `act(x)`; for a stack with `probes` tangents also `act′(x) ẋ`.
///
/// # Errors
/// If the stack does not divide into samples.
pub fn activate(x: &Tensor, act: Activation, probes: usize) -> Result<Tensor> {
    let y = Tensor::empty(x.gpu(), x.shape(), x.element())?;
    if probes == 0 {
        run("activate", act, &[x, &y], Params::of(x.shape()))?;
        return Ok(y);
    }
    let samples = primal_samples("elementwise", x, probes)?;
    let primal = Params { blocks: (samples * x.shape().sample_vec4s()) as u32, ..Params::of(x.shape()) };
    // The slope times the whole stack; then the primal is overwritten.
    run("activation_slope", act, &[x, x, &y], Params { other: primal.blocks, ..Params::of(x.shape()) })?;
    run("activate", act, &[x, &y], primal)?;
    Ok(y)
}

/// The adjoint of [`activate`] for a stack with `probes` tangents: `act′(x) ȳ`, and for the primal also
/// `Σₖ act″(x) ẋₖ ȳₖ`.
///
/// # Errors
/// If the shapes do not fit.
pub fn activate_backward(x: &Tensor, dy: &Tensor, act: Activation, probes: usize) -> Result<Tensor> {
    check_shape("elementwise", "the output's gradient", dy, x.shape())?;
    let dx = Tensor::empty(x.gpu(), x.shape(), x.element())?;
    let samples = primal_samples("elementwise", x, probes)?;
    let primal = (samples * x.shape().sample_vec4s()) as u32;
    run("activation_slope", act, &[x, dy, &dx], Params { other: primal, ..Params::of(x.shape()) })?;
    if probes > 0 {
        let params = Params { blocks: primal, other: x.shape().vec4s() as u32, ..Params::of(x.shape()) };
        run("activation_curvature", act, &[x, dy, &dx], params)?;
    }
    Ok(dx)
}

/// `alpha a + beta b`. If `b` has fewer samples, the missing ones count as zero.
///
/// # Errors
/// If the shapes do not fit.
pub fn blend(a: &Tensor, alpha: f32, b: &Tensor, beta: f32) -> Result<Tensor> {
    let shape = a.shape();
    let fits = b.shape().with_n(shape.n()) == shape && b.shape().n() <= shape.n();
    check("elementwise", fits, || format!("{} cannot be added to {shape}", b.shape()))?;
    let y = Tensor::empty(a.gpu(), shape, a.element())?;
    let params = Params { other: b.shape().vec4s() as u32, alpha, beta, ..Params::of(shape) };
    run("blend", Activation::Identity, &[a, b, &y], params)?;
    Ok(y)
}

/// `y += alpha x`, in place.
///
/// # Errors
/// If the shapes differ.
pub fn accumulate(x: &Tensor, alpha: f32, y: &Tensor) -> Result<()> {
    check_shape("elementwise", "the summand", x, y.shape())?;
    run("accumulate", Activation::Identity, &[x, y], Params { alpha, ..Params::of(y.shape()) })
}

/// `alpha x + beta`, the shift on the first `shifted` samples only.
pub fn affine(x: &Tensor, alpha: f32, beta: f32, shifted: usize) -> Result<Tensor> {
    let y = Tensor::empty(x.gpu(), x.shape(), x.element())?;
    let other = (shifted * x.shape().sample_vec4s()) as u32;
    run("affine", Activation::Identity, &[x, &y], Params { alpha, beta, other, ..Params::of(x.shape()) })?;
    Ok(y)
}

/// Each element of `x` `[n, h, w, c]` at the nearest point of the interval from `low` to `high`.
///
/// # Errors
/// If `low` is not at most `high`.
pub fn clamp(x: &Tensor, low: f32, high: f32) -> Result<Tensor> {
    check("elementwise", low <= high, || format!("the interval from {low} to {high} is empty"))?;
    let y = Tensor::empty(x.gpu(), x.shape(), x.element())?;
    let params = Params { alpha: low, beta: high, ..Params::of(x.shape()) };
    run("clamp_to_range", Activation::Identity, &[x, &y], params)?;
    Ok(y)
}

/// Each sample times its factor in `s`, `[n, 1, 1, 1]` in f32; `s` repeats if `x` has more samples.
///
/// # Errors
/// If the shapes do not fit.
pub fn scale_samples(x: &Tensor, s: &Tensor) -> Result<Tensor> {
    let (n, period) = (x.shape().n(), s.shape().n());
    let fits = s.shape() == Shape::new(period, 1, 1, 1) && n % period == 0;
    check("elementwise", fits, || {
        format!("factors {} do not repeat over the samples of {}", s.shape(), x.shape())
    })?;
    let y = Tensor::empty(x.gpu(), x.shape(), x.element())?;
    run(
        "scale_samples",
        Activation::Identity,
        &[x, s, &y],
        Params { other: period as u32, ..Params::of(x.shape()) },
    )?;
    Ok(y)
}

/// `x[n, h, w, c] + v[n, c]`. If `v` has fewer samples, the missing ones count as zero.
///
/// # Errors
/// If the shapes do not fit.
pub fn add_channels(x: &Tensor, v: &Tensor) -> Result<Tensor> {
    let samples = v.shape().n();
    let fits = v.shape() == Shape::new(samples, 1, 1, x.shape().c()) && samples <= x.shape().n();
    check("elementwise", fits, || format!("{} cannot be added to every pixel of {}", v.shape(), x.shape()))?;
    let y = Tensor::empty(x.gpu(), x.shape(), x.element())?;
    run(
        "add_channels",
        Activation::Identity,
        &[x, v, &y],
        Params { other: samples as u32, ..Params::of(x.shape()) },
    )?;
    Ok(y)
}

/// `x[n, h, w, c] · v[n, c]`; if `x` has more samples, `v` repeats.
///
/// # Errors
/// If the shapes do not fit.
pub fn scale_channels(x: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (n, period) = (x.shape().n(), v.shape().n());
    let fits = v.shape() == Shape::new(period, 1, 1, x.shape().c()) && n % period == 0;
    check("elementwise", fits, || format!("{} cannot scale every pixel of {}", v.shape(), x.shape()))?;
    let y = Tensor::empty(x.gpu(), x.shape(), x.element())?;
    let params = Params { other: period as u32, ..Params::of(x.shape()) };
    run("scale_channels", Activation::Identity, &[x, v, &y], params)?;
    Ok(y)
}

/// The adjoint of [`scale_channels`] in the factors, of shape `v`, in f32: sums of `x · dy` over pixels and
/// repetitions.
///
/// # Errors
/// If the shapes do not fit.
pub fn scale_channels_backward(x: &Tensor, dy: &Tensor, v: Shape) -> Result<Tensor> {
    check_shape("elementwise", "the output's gradient", dy, x.shape())?;
    let product = Tensor::empty(x.gpu(), x.shape(), x.element())?;
    run("multiply", Activation::Identity, &[x, dy, &product], Params::of(x.shape()))?;
    let sums = sum_pixels(&product)?;
    if sums.shape() == v {
        return Ok(sums);
    }
    let dv = Tensor::empty(x.gpu(), v, Element::F32)?;
    let axis = Axis { first: 0, outer: 1, length: x.shape().n() / v.n(), inner: v.vec4s() };
    reduce::sum_axis(&sums, axis, &dv, false)?;
    Ok(dv)
}

/// The mean over the pixels of each sample and channel, `[n, h, w, c]` → `[n, 1, 1, c]` in f32.
pub fn mean_pixels(x: &Tensor) -> Result<Tensor> {
    let pixels = (x.shape().h() * x.shape().w()) as f32;
    affine(&sum_pixels(x)?, 1.0 / pixels, 0.0, 0)
}

/// The adjoint of [`mean_pixels`]: `dy` / pixels at every pixel of the shape `x`.
///
/// # Errors
/// If the shapes do not fit.
pub fn mean_pixels_backward(dy: &Tensor, x: Shape) -> Result<Tensor> {
    check_shape("elementwise", "the output's gradient", dy, Shape::new(x.n(), 1, 1, x.c()))?;
    let dx = Tensor::empty(dy.gpu(), x, dy.element())?;
    let alpha = 1.0 / (x.h() * x.w()) as f32;
    run("spread", Activation::Identity, &[dy, &dx], Params { alpha, ..Params::of(x) })?;
    Ok(dx)
}

fn sum_pixels(x: &Tensor) -> Result<Tensor> {
    let shape = x.shape();
    let sums = Tensor::empty(x.gpu(), Shape::new(shape.n(), 1, 1, shape.c()), Element::F32)?;
    let axis = Axis { first: 0, outer: shape.n(), length: shape.h() * shape.w(), inner: shape.c4() };
    reduce::sum_axis(x, axis, &sums, false)?;
    Ok(sums)
}
