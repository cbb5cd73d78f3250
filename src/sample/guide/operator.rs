//! Linear measurement operators on images.

use crate::gpu::Gpu;
use crate::kernels::check_shape;
use crate::kernels::combine::Factor;
use crate::kernels::conv2d::{self, Conv2d};
use crate::kernels::impute::impute;
use crate::kernels::inner_product::{inner_product, lanes};
use crate::kernels::upfirdn2d::{self, MAX_TAPS, Upfirdn2d};
use crate::random::{Key, Purpose};
use crate::sample::error::{Result, refuse};
use crate::sde::Marginal;
use crate::tensor::{Shape, Tensor};
use nalgebra::DMatrix;

/// A linear operator A on images, sample by sample.
pub trait Operator {
    /// The shape of an image x, `[1, h, w, c]`.
    fn input(&self) -> Shape;

    /// The shape of its measurement y = A x, `[1, h′, w′, c′]`.
    fn output(&self) -> Shape;

    /// A x.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device refuses.
    fn apply(&self, x: &Tensor) -> Result<Tensor>;

    /// Aᵀ y.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device refuses.
    fn adjoint(&self, y: &Tensor) -> Result<Tensor>;

    /// c if A Aᵀ = c I on the measured elements; the pseudo-inverse is then Aᵀ / c.
    fn gram(&self) -> Option<f64>;

    /// The magnitude of A Aᵀ, which determines what is negligible compared with it: the largest squared norm
    /// of a row, or 1 if no row is much longer than 1.
    fn scale(&self) -> f64 {
        1.0
    }

    /// The number of measured values of an image.
    fn count(&self) -> usize {
        self.output().len()
    }

    /// `y` with zeros at the elements that are not measured.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device refuses.
    fn measured(&self, y: Tensor) -> Result<Tensor> {
        Ok(y)
    }
}

/// Filtering and resampling along rows and columns.
pub struct Resampling {
    spec: Upfirdn2d,
    input: Shape,
    output: Shape,
    gram: Option<f64>,
    scale: f64,
}

impl Resampling {
    /// The mean of each square of `factor` × `factor` pixels of an image `[1, h, w, c]`.
    ///
    /// # Errors
    /// If `factor` does not divide the image's height and width, or exceeds the longest filter.
    pub fn mean(input: Shape, factor: usize) -> Result<Resampling> {
        let fits = input.h().is_multiple_of(factor) && input.w().is_multiple_of(factor);
        if !fits || factor > MAX_TAPS {
            return Err(refuse(format!(
                "factor = {factor}: squares of that side do not make up {}x{} pixels; it must divide them and be at \
                 most {MAX_TAPS}",
                input.h(),
                input.w()
            )));
        }
        let taps = vec![1.0 / factor as f32; factor];
        let spec = Upfirdn2d { kernel: [taps.clone(), taps], up: 1, down: factor, pad: [0; 4] };
        Ok(Resampling {
            output: spec.output(input)?,
            spec,
            input,
            gram: Some((factor as f64).powi(-2)),
            scale: 1.0,
        })
    }

    /// A separable filter with an odd number of taps for an image `[1, h, w, c]`, with zeros beyond the
    /// image's border.
    ///
    /// # Errors
    /// If the filter is longer than the image's sides or the longest filter, or if its taps nearly cancel.
    pub fn blur(input: Shape, kernel: &[f64]) -> Result<Resampling> {
        let most = MAX_TAPS.min(input.h()).min(input.w());
        if kernel.len() > most {
            let len = kernel.len();
            return Err(refuse(format!("a filter of {len} taps; on these images it has at most {most}")));
        }
        // A row is the outer product of the filter with itself.
        let scale = kernel.iter().map(|tap| tap * tap).sum::<f64>().powi(2);
        if !SCALES.contains(&scale) {
            let why = "taps that nearly cancel, so that their sum cannot be made 1; bring another filter";
            return Err(refuse(why));
        }
        let taps: Vec<f32> = kernel.iter().map(|tap| *tap as f32).collect();
        let pad = (taps.len() / 2) as isize;
        let spec = Upfirdn2d { kernel: [taps.clone(), taps], up: 1, down: 1, pad: [pad; 4] };
        Ok(Resampling { output: spec.output(input)?, spec, input, gram: None, scale: scale.max(1.0) })
    }
}

impl Operator for Resampling {
    fn input(&self) -> Shape {
        self.input
    }

    fn output(&self) -> Shape {
        self.output
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(upfirdn2d::forward(x, &self.spec)?)
    }

    fn adjoint(&self, y: &Tensor) -> Result<Tensor> {
        Ok(upfirdn2d::backward(y, self.input.with_n(y.shape().n()), &self.spec)?)
    }

    fn gram(&self) -> Option<f64> {
        self.gram
    }

    fn scale(&self) -> f64 {
        self.scale
    }
}

/// A selection of elements; the others are zero in the measurement.
pub struct Mask {
    /// 1 where nothing is measured.
    hidden: Tensor,
    count: usize,
}

impl Mask {
    /// A selection by the mask of one image, `[1, h, w, c]`: 1 at measured elements, 0 elsewhere.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn new(gpu: &Gpu, input: Shape, mask: &[f32]) -> Result<Mask> {
        let hidden: Vec<f32> = mask.iter().map(|v| 1.0 - v).collect();
        let count = mask.iter().filter(|v| **v == 1.0).count();
        Ok(Mask { hidden: Tensor::from_slice(gpu, input, &hidden)?, count })
    }
}

impl Operator for Mask {
    fn input(&self) -> Shape {
        self.hidden.shape()
    }

    fn output(&self) -> Shape {
        self.hidden.shape()
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let zero = Marginal { mean: 0.0, std: 0.0 };
        Ok(impute(x, x, &self.hidden, zero, Key::new(0, Purpose::Constraint(0)))?)
    }

    fn adjoint(&self, y: &Tensor) -> Result<Tensor> {
        self.apply(y)
    }

    fn gram(&self) -> Option<f64> {
        Some(1.0)
    }

    fn count(&self) -> usize {
        self.count
    }

    fn measured(&self, y: Tensor) -> Result<Tensor> {
        self.apply(&y)
    }
}

/// The range of the largest squared row norm for which rows and their products are accurate in f32.
const SCALES: std::ops::Range<f64> = 1e-10..1e10;

/// A matrix, as a convolution whose window is the whole image.
pub struct Matrix {
    weight: Tensor,
    input: Shape,
    gram: Option<f64>,
    scale: f64,
}

impl Matrix {
    /// A matrix from its rows in `values`, `h w c` numbers each, for images `[1, h, w, c]`.
    ///
    /// # Errors
    /// If the rows do not fit the image, are all zero, or are too large or too small for f32.
    pub fn new(gpu: &Gpu, input: Shape, values: &[f64]) -> Result<Matrix> {
        let (d, c) = (input.len(), input.c());
        if values.is_empty() || !values.len().is_multiple_of(d) {
            return Err(refuse(format!(
                "a matrix of {} numbers does not fit: its rows have {d}, one for each number of an image of {}x{}x{c}",
                values.len(),
                input.h(),
                input.w()
            )));
        }
        if values.iter().all(|value| *value == 0.0) {
            return Err(refuse("a matrix of zeros measures nothing; bring another"));
        }
        let square = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>();
        let scale = values.chunks(d).map(square).fold(0.0, f64::max);
        if !SCALES.contains(&scale) {
            return Err(refuse(format!(
                "a row of norm {:.1e}; divide the matrix, its measurements and noise_std by a number that makes it about 1",
                scale.sqrt()
            )));
        }
        let rows = values.len() / d;
        let shape = conv2d::weight_shape(input.h(), input.w(), c, rows);
        let mut weight = vec![0.0; shape.len()];
        for (i, value) in values.iter().enumerate() {
            let (row, pixel, k) = (i / d, i % d / c, i % c);
            weight[(pixel * shape.w() + k) * rows + row] = *value as f32;
        }
        Ok(Matrix { weight: Tensor::from_slice(gpu, shape, &weight)?, input, gram: None, scale })
    }

    /// `rows` random orthonormal directions drawn from `seed`.
    ///
    /// # Errors
    /// If `rows` exceeds the number of elements of an image, or the matrix the device's binding limit.
    pub fn random(gpu: &Gpu, input: Shape, rows: usize, seed: u64) -> Result<Matrix> {
        let d = input.len();
        if rows > d {
            return Err(refuse(format!("rows = {rows}: an image of {d} numbers has at most {d}")));
        }
        gpu.check_binding(4 * (rows * d) as u64, || format!("a projection of {d} numbers on {rows}"))?;
        let key = Key::new(seed, Purpose::RandomProjection);
        let draw = |k: usize, row: usize| f64::from(key.normal(row as u32, (k / 4) as u32)[k % 4]);
        let q = DMatrix::from_fn(d, rows, draw).qr().q();
        // Column-major: the directions are consecutive.
        Ok(Matrix { gram: Some(1.0), ..Matrix::new(gpu, input, q.as_slice())? })
    }
}

impl Operator for Matrix {
    fn input(&self) -> Shape {
        self.input
    }

    fn output(&self) -> Shape {
        Shape::vector(self.weight.shape().c())
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(conv2d::forward(x, &self.weight, None, 0, &Conv2d::padded(0))?)
    }

    fn adjoint(&self, y: &Tensor) -> Result<Tensor> {
        Ok(conv2d::grad_input(y, &self.weight, self.input.with_n(y.shape().n()), &Conv2d::padded(0))?)
    }

    fn gram(&self) -> Option<f64> {
        self.gram
    }

    fn scale(&self) -> f64 {
        self.scale
    }
}

/// The matrix of one sample's linear system: `gram` · A Aᵀ + `ridge` · I.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearSystem {
    /// Factor of A Aᵀ.
    pub gram: f64,
    /// Factor of the identity.
    pub ridge: f64,
}

/// The largest number of conjugate gradient iterations.
const ITERATIONS: usize = 100;
/// A sample has converged when the norm of its residual falls below this fraction of the initial one.
const TOLERANCE: f64 = 1e-5;

/// The solution z of `(gramᵢ A Aᵀ + ridgeᵢ I) zᵢ = yᵢ` for each sample of a measurement: in closed form if
/// A Aᵀ is a multiple of the identity, else by conjugate gradients (Hestenes and Stiefel 1952), independently
/// for each sample.
///
/// # Errors
/// If the numbers of systems and samples differ.
pub fn solve(operator: &dyn Operator, y: &Tensor, systems: &[LinearSystem]) -> Result<Tensor> {
    let each = |f: &dyn Fn(usize) -> f64| Factor::Each((0..systems.len()).map(f).collect());
    let measurements = operator.output().with_n(systems.len());
    check_shape("inverse problem", "the measurement", y, measurements)?;
    if let Some(c) = operator.gram() {
        return Ok((y * each(&|i| 1.0 / (systems[i].gram * c + systems[i].ridge))).run()?);
    }
    let (gram, ridge) = (each(&|i| systems[i].gram), each(&|i| systems[i].ridge));
    let mut z = (y * 0.0).run()?;
    let (mut residual, mut direction) = (y.clone(), y.clone());
    let first = lanes(&inner_product(y, y)?)?;
    let mut square = first.clone();
    for _ in 0..ITERATIONS {
        let done = |i: usize| square[i] <= first[i] * TOLERANCE.powi(2);
        if (0..systems.len()).all(done) {
            break;
        }
        let image = operator.apply(&operator.adjoint(&direction)?)?;
        let image = (&image * &gram + &direction * &ridge).run()?;
        let curvature = lanes(&inner_product(&direction, &image)?)?;
        // A converged sample stays fixed while others continue: it must not depend on its batch.
        let step = each(&|i| if done(i) || curvature[i] <= 0.0 { 0.0 } else { square[i] / curvature[i] });
        z = (&z + &direction * &step).run()?;
        residual = (&residual - &image * &step).run()?;
        let next = lanes(&inner_product(&residual, &residual)?)?;
        let ratio = each(&|i| if square[i] > 0.0 { next[i] / square[i] } else { 0.0 });
        direction = (&residual + &direction * ratio).run()?;
        square = next;
    }
    Ok(z)
}
