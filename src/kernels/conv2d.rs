//! Convolution on `[n, h, w, c]` with weights `[kh, kw, c_in, c_out]` whose third axis is rounded up to 4:
//! forward, and the adjoints in the input, the weights and the bias. It is linear: its tangent is itself.
//!
//! A dense layer is a 1 × 1 convolution of `[n, 1, 1, c]`.

use super::gemm::{self, Product};
use super::{Result, check, check_shape, reduce, shader};
use crate::gpu::{Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const FORWARD: Shader = shader!("conv2d/forward");
const GRAD_INPUT: Shader = shader!("conv2d/grad_input");
const GRAD_WEIGHT: Shader = shader!("conv2d/grad_weight");

pub(super) fn variants() -> Vec<Variant> {
    let passes = [FORWARD, GRAD_INPUT, GRAD_WEIGHT];
    passes.into_iter().flat_map(|shader| gemm::variants(&Variant::new(shader))).collect()
}

/// Stride, dilation and zero padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Step between output pixels, in input pixels.
    pub stride: usize,
    /// Step between taps, in input pixels.
    pub dilation: usize,
    /// Zeros above, below, left and right of the input.
    pub pad: [usize; 4],
}

impl Conv2d {
    /// Stride 1, no dilation, `pad` zeros on every side.
    pub fn padded(pad: usize) -> Self {
        Conv2d { stride: 1, dilation: 1, pad: [pad; 4] }
    }

    /// The shape of the output for `x` `[n, h, w, c_in]` and weights `[kh, kw, _, c_out]`.
    ///
    /// # Errors
    /// If the window is larger than the padded input.
    pub fn output(&self, x: Shape, weight: Shape) -> Result<Shape> {
        let [top, bottom, left, right] = self.pad;
        let extent = |size: usize, pad: usize, taps: usize| {
            let window = self.dilation * (taps - 1) + 1;
            (size + pad).checked_sub(window).map(|room| room / self.stride + 1)
        };
        let h = extent(x.h(), top + bottom, weight.n());
        let w = extent(x.w(), left + right, weight.h());
        check("conv2d", h.is_some() && w.is_some(), || {
            format!("weights {weight} do not fit into an input {x}")
        })?;
        Ok(Shape::new(x.n(), h.unwrap_or(0), w.unwrap_or(0), weight.c()))
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Geometry {
    n: u32,
    h: u32,
    w: u32,
    c4: u32,
    oh: u32,
    ow: u32,
    o4: u32,
    kh: u32,
    kw: u32,
    stride: u32,
    dilation: u32,
    pad_y: i32,
    pad_x: i32,
    layers: u32,
    bias_rows: u32,
    accumulate: u32,
}

fn geometry(spec: &Conv2d, x: Shape, weight: Shape, y: Shape) -> Geometry {
    Geometry {
        n: x.n() as u32,
        h: x.h() as u32,
        w: x.w() as u32,
        c4: x.c4() as u32,
        oh: y.h() as u32,
        ow: y.w() as u32,
        o4: y.c4() as u32,
        kh: weight.n() as u32,
        kw: weight.h() as u32,
        stride: spec.stride as u32,
        dilation: spec.dilation as u32,
        pad_y: spec.pad[0] as i32,
        pad_x: spec.pad[2] as i32,
        layers: 1,
        bias_rows: 0,
        accumulate: 0,
    }
}

/// Weights for `c_in` and `c_out` channels and a window of `kh × kw`.
pub fn weight_shape(kh: usize, kw: usize, c_in: usize, c_out: usize) -> Shape {
    Shape::new(kh, kw, c_in.next_multiple_of(4), c_out)
}

/// `y = x * weight + bias`, the bias on the first `bias_samples` samples only.
///
/// # Errors
/// If the shapes do not fit.
pub fn forward(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    bias_samples: usize,
    spec: &Conv2d,
) -> Result<Tensor> {
    check_weight(x.shape(), weight)?;
    let shape = spec.output(x.shape(), weight.shape())?;
    if let Some(bias) = bias {
        check_shape("conv2d", "the bias", bias, Shape::vector(shape.c()))?;
    }
    let y = Tensor::empty(x.gpu(), shape, x.element())?;
    let mut params = geometry(spec, x.shape(), weight.shape(), shape);
    params.bias_rows = (bias.map_or(0, |_| bias_samples) * shape.h() * shape.w()) as u32;
    let depth = weight.shape().rows();
    let product = Product { layers: 1, rows: shape.rows(), columns: shape.c4(), depth };
    let variant = Variant::new(FORWARD).stored(x.element());
    // Without a bias its binding holds a placeholder that is not read.
    gemm::run(x.gpu(), variant, &[x, weight, bias.unwrap_or(weight), &y], &params, product)?;
    Ok(y)
}

/// The adjoint in the input: `dx` of shape `x` from `dy`.
///
/// # Errors
/// If the shapes do not fit.
pub fn grad_input(dy: &Tensor, weight: &Tensor, x: Shape, spec: &Conv2d) -> Result<Tensor> {
    check_weight(x, weight)?;
    check_shape("conv2d", "the output's gradient", dy, spec.output(x, weight.shape())?)?;
    let dx = Tensor::empty(dy.gpu(), x, dy.element())?;
    let params = geometry(spec, x, weight.shape(), dy.shape());
    let depth = weight.shape().n() * weight.shape().h() * dy.shape().c4() * 4;
    let product = Product { layers: 1, rows: x.rows(), columns: x.c4(), depth };
    let variant = Variant::new(GRAD_INPUT).stored(dy.element());
    gemm::run(dy.gpu(), variant, &[dy, weight, &dx], &params, product)?;
    Ok(dx)
}

fn check_weight(x: Shape, weight: &Tensor) -> Result<()> {
    let rows = weight.shape().w();
    check("conv2d", rows == x.c4() * 4, || {
        format!("weights {} do not take {} channels", weight.shape(), x.c())
    })
}

/// The adjoint in the weights, written to `dweight`, or added to its contents if `accumulate`.
///
/// Where the product has few elements, the long sum over pixels is cut into slices that are added in order.
///
/// # Errors
/// If the shapes do not fit.
pub fn grad_weight(x: &Tensor, dy: &Tensor, spec: &Conv2d, dweight: &Tensor, accumulate: bool) -> Result<()> {
    check_weight(x.shape(), dweight)?;
    let weight = dweight.shape();
    check_shape("conv2d", "the output's gradient", dy, spec.output(x.shape(), weight)?)?;
    let (rows, columns) = (weight.rows(), weight.c4());
    let lines = dy.shape().n() * dy.shape().h();
    let wanted = x.gpu().parallelism().div_ceil(gemm::invocations(x.gpu(), rows, columns));
    // The shader gives each slice the same share of the lines, rounded up: so few slices that none is empty.
    let share = lines.div_ceil(wanted.clamp(1, lines));
    let layers = lines.div_ceil(share);
    let mut params = geometry(spec, x.shape(), weight, dy.shape());
    params.layers = layers as u32;
    let depth = share * dy.shape().w().next_multiple_of(4);
    let product = Product { layers, rows, columns, depth };
    let variant = Variant::new(GRAD_WEIGHT).stored(x.element());
    if layers == 1 {
        params.accumulate = accumulate.into();
        return gemm::run(x.gpu(), variant, &[x, dy, dweight], &params, product);
    }
    let slices = Tensor::empty(x.gpu(), Shape::new(layers, 1, rows, weight.c()), Default::default())?;
    gemm::run(x.gpu(), variant, &[x, dy, &slices], &params, product)?;
    let axis = reduce::Axis { first: 0, outer: 1, length: layers, inner: rows * columns };
    reduce::sum_axis(&slices, axis, dweight, accumulate)
}
