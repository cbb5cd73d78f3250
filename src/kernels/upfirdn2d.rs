//! FIR up- and downsampling (Karras et al. 2019): insert zeros between the pixels, pad the image, filter it
//! along rows and columns, and keep every `down`-th pixel. It is linear: its tangent is itself.

use super::{MULTIPLY_ADD, Result, check, check_shape, launch, shader};
use crate::gpu::{Extent, Shader, Variant};
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};

const SHADER: Shader = shader!("upfirdn2d");

/// The most taps along an axis: they are immediates.
pub const MAX_TAPS: usize = 12;

/// A resampling filter, separable: `kernel[0]` along columns of pixels (y), `kernel[1]` along rows (x).
#[derive(Debug, Clone, PartialEq)]
pub struct Upfirdn2d {
    /// The taps along y and x, the same number along each, at most [`MAX_TAPS`]. A true convolution: the
    /// first tap multiplies the last pixel.
    pub kernel: [Vec<f32>; 2],
    /// Upsampling factor.
    pub up: usize,
    /// Downsampling factor.
    pub down: usize,
    /// Zeros above, below, left and right of the upsampled image. Negative numbers crop it.
    pub pad: [isize; 4],
}

impl Upfirdn2d {
    /// FIR ×2 upsampling with the taps `kernel`, normalised to sum to 2 along each axis, and the reference's
    /// padding.
    pub fn upsample(kernel: &[f32]) -> Self {
        let p = kernel.len() as isize - 2;
        let (before, after) = ((p + 1) / 2 + 1, p / 2);
        let taps = normalised(kernel, 2.0);
        Upfirdn2d { kernel: [taps.clone(), taps], up: 2, down: 1, pad: [before, after, before, after] }
    }

    /// FIR ×½ downsampling with the taps `kernel`, normalised to sum to 1 along each axis, and the
    /// reference's padding.
    pub fn downsample(kernel: &[f32]) -> Self {
        Upfirdn2d { down: 2, ..Self::blur(kernel, kernel.len() - 2) }
    }

    /// A filter with the taps `kernel`, normalised to sum to 1 along each axis, and a total of `pad` zeros
    /// along each axis.
    pub fn blur(kernel: &[f32], pad: usize) -> Self {
        let (before, after) = (pad.div_ceil(2) as isize, (pad / 2) as isize);
        let taps = normalised(kernel, 1.0);
        Upfirdn2d { kernel: [taps.clone(), taps], up: 1, down: 1, pad: [before, after, before, after] }
    }

    /// FIR ×2 upsampling before a 3 × 3 convolution without padding: the two extra rows and columns are the
    /// filter's output beyond the border, not zeros. This is the reference's `upsample_conv_2d`, which
    /// convolves first; the two commute.
    pub fn upsample_before_conv(kernel: &[f32]) -> Self {
        let taps = kernel.len() as isize;
        let before = (taps - 3).div_euclid(2) + 3;
        let pad = [before, taps + 1 - before, before, taps + 1 - before];
        Upfirdn2d { pad, ..Self::upsample(kernel) }
    }

    /// Nearest-neighbour ×2 upsampling.
    pub fn nearest() -> Self {
        Upfirdn2d { kernel: [vec![1.0; 2], vec![1.0; 2]], up: 2, down: 1, pad: [1, 0, 1, 0] }
    }

    /// The mean of each 2 × 2 square.
    pub fn mean() -> Self {
        Upfirdn2d { kernel: [vec![0.5; 2], vec![0.5; 2]], up: 1, down: 2, pad: [0; 4] }
    }

    /// The mean over a window of odd size around each pixel; pixels outside of the image count as zeros.
    pub fn average(window: usize) -> Self {
        Self::blur(&vec![1.0; window], window - 1)
    }

    /// The shape of the output for an input `x`.
    ///
    /// # Errors
    /// If the filter is longer than the padded image.
    pub fn output(&self, x: Shape) -> Result<Shape> {
        let [top, bottom, left, right] = self.pad;
        let extent = |size: usize, pads: isize, taps: &[f32]| {
            let room = (size * self.up) as isize + pads - taps.len() as isize;
            (room >= 0).then(|| room as usize / self.down + 1)
        };
        let h = extent(x.h(), top + bottom, &self.kernel[0]);
        let w = extent(x.w(), left + right, &self.kernel[1]);
        check("upfirdn2d", h.is_some() && w.is_some(), || format!("{self:?} does not fit into {x}"))?;
        Ok(Shape::new(x.n(), h.unwrap_or(0), w.unwrap_or(0), x.c()))
    }
}

fn normalised(kernel: &[f32], gain: f32) -> Vec<f32> {
    let sum: f32 = kernel.iter().sum();
    kernel.iter().map(|tap| tap * gain / sum).collect()
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    h: u32,
    w: u32,
    c4: u32,
    oh: u32,
    ow: u32,
    pad_y: i32,
    pad_x: i32,
    taps_y: [f32; MAX_TAPS],
    taps_x: [f32; MAX_TAPS],
}

/// `[n, h, w, c]` → `[n, h′, w′, c]`.
///
/// # Errors
/// If the filter does not fit.
pub fn forward(x: &Tensor, spec: &Upfirdn2d) -> Result<Tensor> {
    Correlation::forward(spec).run(x, spec.output(x.shape())?)
}

/// The adjoint: the gradient in an input of shape `x` from that of the output.
///
/// # Errors
/// If the shapes do not fit.
pub fn backward(dy: &Tensor, x: Shape, spec: &Upfirdn2d) -> Result<Tensor> {
    check_shape("upfirdn2d", "the output's gradient", dy, spec.output(x)?)?;
    Correlation::adjoint(spec).run(dy, x)
}

/// The filters of the published networks, and a general one.
pub(super) fn variants() -> Vec<Variant> {
    let fir = [1.0, 3.0, 3.0, 1.0];
    let general =
        Upfirdn2d { kernel: [vec![1.0; MAX_TAPS], vec![1.0; MAX_TAPS]], up: 3, down: 2, pad: [2, 3, 1, 4] };
    let specs = [
        Upfirdn2d::upsample(&fir),
        Upfirdn2d::upsample_before_conv(&fir),
        Upfirdn2d::downsample(&fir),
        Upfirdn2d::blur(&fir, 4),
        Upfirdn2d::nearest(),
        Upfirdn2d::mean(),
        Upfirdn2d::average(5),
        general,
    ];
    specs
        .iter()
        .flat_map(|spec| [Correlation::forward(spec), Correlation::adjoint(spec)].map(|c| c.variant()))
        .collect()
}

/// The shader's computation: `y[o] = Σᵢ tapsᵢ z[o down + i − pad]`.
struct Correlation {
    taps: [Vec<f32>; 2],
    up: usize,
    down: usize,
    pad: [isize; 2],
}

impl Correlation {
    fn forward(spec: &Upfirdn2d) -> Self {
        let reversed = |taps: &Vec<f32>| taps.iter().rev().copied().collect();
        Correlation {
            taps: [reversed(&spec.kernel[0]), reversed(&spec.kernel[1])],
            up: spec.up,
            down: spec.down,
            pad: [spec.pad[0], spec.pad[2]],
        }
    }

    /// y[o] = Σᵢ fᵢ z[o down + i − pad] with f = kernel reversed; hence dx[q] = Σⱼ kernelⱼ dy[(q up + j −
    /// pad′) / down] with pad′ = taps − 1 − pad.
    fn adjoint(spec: &Upfirdn2d) -> Self {
        let last = spec.kernel.each_ref().map(|taps| taps.len() as isize - 1);
        Correlation {
            taps: spec.kernel.clone(),
            up: spec.down,
            down: spec.up,
            pad: [last[0] - spec.pad[0], last[1] - spec.pad[2]],
        }
    }

    fn run(&self, x: &Tensor, output: Shape) -> Result<Tensor> {
        let len = self.taps[0].len();
        check("upfirdn2d", len == self.taps[1].len() && (1..=MAX_TAPS).contains(&len), || {
            format!("{} and {len} taps; both axes have the same number, 1 to {MAX_TAPS}", self.taps[1].len())
        })?;
        let y = Tensor::empty(x.gpu(), output, x.element())?;
        let params = Params {
            n: x.shape().n() as u32,
            h: x.shape().h() as u32,
            w: x.shape().w() as u32,
            c4: x.shape().c4() as u32,
            oh: output.h() as u32,
            ow: output.w() as u32,
            pad_y: self.pad[0] as i32,
            pad_x: self.pad[1] as i32,
            taps_y: padded(&self.taps[0]),
            taps_x: padded(&self.taps[1]),
        };
        let (square, span) = (self.square(), self.span());
        let variant = self.variant().stored(x.element());
        let owned = output.n() * output.h().div_ceil(square) * output.w().div_ceil(square) * output.c4();
        let work = (MULTIPLY_ADD * owned * span * span * square) as u64;
        launch(x.gpu(), variant, "upfirdn2d", &[x, &y], &params, Extent::Invocations(owned), work)?;
        Ok(y)
    }

    fn variant(&self) -> Variant {
        Variant::new(SHADER)
            .with("UP", self.up as u32)
            .with("DOWN", self.down as u32)
            .with("LEN", self.taps[0].len() as u32)
            .with("PHASE_Y", self.phase(0))
            .with("PHASE_X", self.phase(1))
            .with("B", self.square() as u32)
            .with("SPAN", self.span() as u32)
    }

    /// The number of inputs along an axis on which a square may depend.
    fn span(&self) -> usize {
        ((self.square() - 1) * self.down + self.taps[0].len()).div_ceil(self.up)
    }

    /// The side of the square of outputs that an invocation owns: `square · down` is a multiple of `up`.
    fn square(&self) -> usize {
        let smallest = (1..=self.up).find(|b| (b * self.down).is_multiple_of(self.up)).unwrap_or(self.up);
        if self.up > self.down { smallest.max(2) } else { smallest * (2 / smallest).max(1) }
    }

    /// The distance from a square's first position, −pad modulo `up`, to the first input at or after it.
    fn phase(&self, axis: usize) -> u32 {
        self.pad[axis].rem_euclid(self.up as isize) as u32
    }
}

fn padded(taps: &[f32]) -> [f32; MAX_TAPS] {
    let mut all = [0.0; MAX_TAPS];
    all[..taps.len()].copy_from_slice(taps);
    all
}
