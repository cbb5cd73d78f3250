//! Improved precision and recall (Kynkäänniemi 2019). The support of a set is the union of balls around its
//! members, each as large as the distance to the member's k-th neighbour in the set. Precision is the share of
//! samples inside the support of the data, recall the share of the data inside the support of the samples.

use super::features::at_least;
use super::products::{Block, distances};
use super::{EvalError, Features, nearest};
use crate::gpu::Gpu;

/// Precision and recall, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrecisionRecall {
    /// The share of samples inside the support of the data.
    pub precision: f64,
    /// The share of the data inside the support of the samples.
    pub recall: f64,
}

/// The neighbour that sets a ball's radius, by convention.
const K: usize = 3;

/// Precision and recall of `samples` against `data`, with k = 3. `watch` is called with a number of pairs after
/// each block, in all n² + m² + n m for sets of n and m.
///
/// # Errors
/// [`EvalError::TooFew`] with less than four members of a set; if the vectors have different lengths; at an
/// error of the device or of `watch`.
pub fn precision_recall<E: From<EvalError>>(
    gpu: &Gpu,
    samples: &Features,
    data: &Features,
    watch: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Result<PrecisionRecall, E> {
    at_least("precision and recall", K + 1, &[samples, data])?;
    let mut radii = |set: &Features| -> Result<Vec<f32>, E> {
        let neighbours = nearest(gpu, set, set, K, true, watch)?;
        Ok(neighbours.iter().map(|found| found.last().map_or(0.0, |last| last.square as f32)).collect())
    };
    let (of_samples, of_data) = (radii(samples)?, radii(data)?);
    let mut precise = vec![false; samples.len()];
    let mut recalled = vec![false; data.len()];
    distances(gpu, samples, data, &mut |block: Block<'_>| {
        for (row, values) in block.lines() {
            for (square, column) in values.iter().zip(block.columns.clone()) {
                precise[row] |= *square <= of_data[column];
                recalled[column] |= *square <= of_samples[row];
            }
        }
        watch(block.values.len())
    })?;
    let share =
        |inside: &[bool]| inside.iter().filter(|inside| **inside).count() as f64 / inside.len() as f64;
    Ok(PrecisionRecall { precision: share(&precise), recall: share(&recalled) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tests::uniform;

    fn of(samples: &Features, data: &Features) -> Result<PrecisionRecall, EvalError> {
        precision_recall(&Gpu::open(None).unwrap(), samples, data, &mut |_| Ok(()))
    }

    #[test]
    fn samples_of_a_part_of_the_data_are_precise_and_miss_the_rest() {
        let line =
            |numbers: std::ops::Range<i32>| Features::new(numbers.map(|i| i as f32).collect(), 1).unwrap();
        // Balls of radius 2 inside, and 3 at the ends.
        let part = of(&line(0..50), &line(0..100)).unwrap();
        assert_eq!((part.precision, part.recall), (1.0, 0.53));
        let apart = of(&line(0..50), &line(1000..1100)).unwrap();
        assert_eq!((apart.precision, apart.recall), (0.0, 0.0));
        assert!(matches!(of(&line(0..3), &line(0..9)), Err(EvalError::TooFew { least: 4, n: 3, .. })));
    }

    #[test]
    fn shares_are_those_that_numpy_computes() {
        let found = of(&uniform(1, 90, 4, 1.0, 0.0), &uniform(2, 70, 4, 1.2, 0.1)).unwrap();
        assert_eq!((found.precision, found.recall), SHARES);
    }

    /// By scripts/evaluation_fixtures.py.
    const SHARES: (f64, f64) = (88.0 / 90.0, 50.0 / 70.0);
}
