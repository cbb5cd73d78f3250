//! The measurements of `tweedie restore`.

use super::{Batch, Images, Observed, read_mask};
use crate::cli::batches;
use crate::config::{Data, Measure, Range};
use crate::data::Array;
use crate::gpu::Gpu;
use crate::kernels::combine::Form;
use crate::random::Key;
use crate::sample::{Mask, Matrix, Operator, Resampling};
use crate::tensor::{Shape, Tensor};
use anyhow::ensure;
use std::path::Path;

/// The range of images and measurements here.
pub const UNIT: Range = Range { centered: false };

/// The operator of a problem on images `[1, h, w, c]`.
pub fn operator(gpu: &Gpu, measure: &Measure, input: Shape) -> anyhow::Result<Box<dyn Operator>> {
    Ok(match measure {
        Measure::SuperResolution { factor } => Box::new(Resampling::mean(input, *factor)?),
        Measure::Deblur { .. } => Box::new(Resampling::blur(input, &measure.kernel()?)?),
        Measure::Mask { mask } => Box::new(Mask::new(gpu, input, &read_mask(mask, input)?)?),
        Measure::RandomProjection { rows, seed } => Box::new(Matrix::random(gpu, input, *rows, *seed)?),
        Measure::Matrix { file } => Box::new(Matrix::new(gpu, input, &read_rows(file, input)?)?),
    })
}

/// The rows of a matrix of images in a file, one after the other.
fn read_rows(path: &Path, input: Shape) -> anyhow::Result<Vec<f64>> {
    let Array { shape, numbers, .. } = Array::read(path)?;
    let row = [input.h(), input.w(), input.c()];
    let fits = shape.split_first().is_some_and(|(_, rest)| rest == row || rest == [input.len()]);
    ensure!(
        fits,
        "{} has shape {shape:?}; it must be [rows, {}, {}, {}] or [rows, {}]",
        path.display(),
        row[0],
        row[1],
        row[2],
        input.len()
    );
    Ok(numbers.doubles())
}

/// The largest measurement: rows of a matrix yield no larger ones, and its square fits into single precision.
const MOST: f32 = 1e9;

/// Measurements of the operator's shape from a file.
pub fn read(name: &str, operator: &dyn Operator, data: &Data) -> anyhow::Result<Observed> {
    let expected = operator.output();
    let y = Observed::read(name, expected.c(), data)?;
    let is = y.batch.shape.with_n(1);
    let shown = |Shape([_, h, w, c]): Shape| format!("{h}x{w}x{c}");
    let hint = if is == operator.input() { "; images need --simulate" } else { "" };
    ensure!(
        is == expected,
        "{name} holds measurements of {} numbers, and the operator's have {}{hint}",
        shown(is),
        shown(expected)
    );
    ensure!(
        y.batch.values.iter().all(|v| v.abs() <= MOST),
        "{name} holds numbers beyond {MOST:e}; measurements must be of images in [0, 1]"
    );
    Ok(y)
}

/// Measures images in [0, 1] in batches, with noise of this standard deviation and key.
pub fn simulate(
    gpu: &Gpu,
    operator: &dyn Operator,
    images: &Observed,
    (noise_std, key): (f64, Key),
    batch: usize,
) -> anyhow::Result<Observed> {
    let mut values = Vec::new();
    for (first, n) in batches(images.batch.shape.n(), batch) {
        let (first, n) = (first as u32, n as u32);
        let image = operator.apply(&images.upload(gpu, first, n, UNIT)?)?;
        let noisy = (&image + Form::normal(key.from(first)) * noise_std).run()?;
        values.extend(operator.measured(noisy)?.read()?);
    }
    Ok(Observed::new(Batch { shape: operator.output().with_n(images.batch.shape.n()), values }))
}

/// The measurements of `n` images of ones.
pub fn of_ones(gpu: &Gpu, operator: &dyn Operator, n: usize) -> anyhow::Result<Tensor> {
    let input = operator.input().with_n(n);
    Ok(operator.apply(&Tensor::from_slice(gpu, input, &vec![1.0; input.len()])?)?)
}

/// Root mean squares over all measurements.
pub struct Residual {
    /// Of A x − y, for the images as written.
    pub off: f64,
    /// Of y.
    pub given: f64,
}

/// The distance between the measurements of images, as written, and `y`; computed in batches.
pub fn residual(
    gpu: &Gpu,
    operator: &dyn Operator,
    images: &Images,
    y: &Observed,
    batch: usize,
) -> anyhow::Result<Residual> {
    let one = operator.input();
    let square = |x: &Tensor| anyhow::Ok(x.read()?.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>());
    let all = images.values().len() / one.len();
    let (mut off, mut given) = (0.0, 0.0);
    for (first, n) in batches(all, batch) {
        let drawn = &images.values()[first * one.len()..][..n * one.len()];
        let x = Tensor::from_slice(gpu, one.with_n(n), drawn)?;
        let y = operator.measured(y.upload(gpu, first as u32, n as u32, UNIT)?)?;
        off += square(&(&operator.apply(&x)? - &y).run()?)?;
        given += square(&y)?;
    }
    let measured = (operator.count() * all) as f64;
    Ok(Residual { off: (off / measured).sqrt(), given: (given / measured).sqrt() })
}
