//! Inner products and squared distances of all pairs of two sets, block by block on the device.

use super::{EvalError, Features};
use crate::gpu::Gpu;
use crate::kernels::matmul::{Matmul, matmul};
use crate::tensor::{Shape, Tensor};
use std::ops::Range;

/// The values of some pairs, `[rows, columns]`.
pub(super) struct Block<'a> {
    /// The numbers of the first set.
    pub rows: Range<usize>,
    /// The numbers of the second set.
    pub columns: Range<usize>,
    pub values: &'a [f32],
}

impl Block<'_> {
    /// Each row's number in the first set, and its values.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.rows.clone().zip(self.values.chunks_exact(self.columns.len()))
    }
}

/// The most rows and columns of a block: 16 MiB of values.
const MOST: [usize; 2] = [1024, 4096];

/// Calls `visit` with the inner products of every row of `a` with every row of `b`.
///
/// # Errors
/// If the vectors have different lengths, at an error of the device, or one of `visit`.
pub(super) fn products<E: From<EvalError>>(
    gpu: &Gpu,
    a: &Features,
    b: &Features,
    visit: &mut dyn FnMut(Block<'_>) -> Result<(), E>,
) -> Result<(), E> {
    a.check(b)?;
    let spec = Matmul { a_transposed: false, b_transposed: true, alpha: 1.0 };
    let row = 4 * a.dimensions().next_multiple_of(4);
    let longest = (gpu.max_binding() as usize / row).max(1);
    let [most_rows, most_columns] = MOST.map(|most| most.min(longest));
    for first_row in (0..a.len()).step_by(most_rows) {
        let rows = first_row..a.len().min(first_row + most_rows);
        let left = upload(gpu, a, &rows)?;
        for first_column in (0..b.len()).step_by(most_columns) {
            let columns = first_column..b.len().min(first_column + most_columns);
            let right = upload(gpu, b, &columns)?;
            let product = matmul(&left, &right, spec).map_err(EvalError::from)?;
            let values = product.read().map_err(|error| EvalError::Kernel(error.into()))?;
            visit(Block { rows: rows.clone(), columns, values: &values })?;
        }
    }
    Ok(())
}

fn upload(gpu: &Gpu, set: &Features, rows: &Range<usize>) -> Result<Tensor, EvalError> {
    let d = set.dimensions();
    let values = &set.values()[rows.start * d..rows.end * d];
    Tensor::from_slice(gpu, Shape::new(1, 1, rows.len(), d), values)
        .map_err(|error| EvalError::Kernel(error.into()))
}

/// Calls `visit` with the squared distances of every row of `a` from every row of `b`.
///
/// ‖x − y‖² = ‖x‖² + ‖y‖² − 2 xᵀy loses digits where the norms are large against the distance; so the mean of
/// `b` is subtracted from both first.
///
/// # Errors
/// The errors of [`products`].
pub(super) fn distances<E: From<EvalError>>(
    gpu: &Gpu,
    a: &Features,
    b: &Features,
    visit: &mut dyn FnMut(Block<'_>) -> Result<(), E>,
) -> Result<(), E> {
    a.check(b)?;
    let mean = mean(b);
    let (a, b) = (centred(a, &mean)?, centred(b, &mean)?);
    let norms = |set: &Features| set.rows().map(|row| dot(row, row) as f32).collect::<Vec<f32>>();
    let (norms_a, norms_b) = (norms(&a), norms(&b));
    let mut squares = Vec::new();
    products(gpu, &a, &b, &mut |block: Block<'_>| {
        squares.clear();
        for (row, values) in block.lines() {
            let norms = &norms_b[block.columns.clone()];
            let square = |(value, norm): (&f32, &f32)| (norms_a[row] + norm - 2.0 * value).max(0.0);
            squares.extend(values.iter().zip(norms).map(square));
        }
        visit(Block { rows: block.rows, columns: block.columns, values: &squares })
    })
}

/// The squared distance of two vectors, in float64.
pub(super) fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn mean(set: &Features) -> Vec<f64> {
    let mut mean = vec![0.0; set.dimensions()];
    for row in set.rows() {
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    mean.iter_mut().for_each(|sum| *sum /= set.len().max(1) as f64);
    mean
}

fn centred(set: &Features, mean: &[f64]) -> Result<Features, EvalError> {
    let centre = |(value, mean): (&f32, &f64)| (f64::from(*value) - mean) as f32;
    let values = set.rows().flat_map(|row| row.iter().zip(mean).map(centre)).collect();
    Features::new(values, set.dimensions()).ok_or(EvalError::Dimensions { a: mean.len(), b: 0 })
}
