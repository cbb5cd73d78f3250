//! Nearest neighbours, and the samples that copy training images.

use super::features::at_least;
use super::products::{Block, distance, distances};
use super::{EvalError, Features};
use crate::gpu::Gpu;

/// A member of a set near a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Its number in the set.
    pub number: usize,
    /// Its squared distance.
    pub square: f64,
}

/// The neighbours of a vector, the nearest first.
pub type Neighbours = Vec<Neighbour>;

/// The members kept beyond those requested: distances in f32 may swap members that are about equally near.
const SPARE: usize = 4;

/// The `k` nearest members of `set` to each vector of `queries`. If `own` is set, both are the same set, and
/// a vector is no neighbour of itself.
///
/// The device finds candidates in f32; their distances are computed again in float64. `watch` is called with
/// the number of pairs after each block.
///
/// # Errors
/// If the vectors have different lengths, or at an error of the device or of `watch`.
pub fn nearest<E: From<EvalError>>(
    gpu: &Gpu,
    queries: &Features,
    set: &Features,
    k: usize,
    own: bool,
    watch: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Result<Vec<Neighbours>, E> {
    let kept = k + SPARE;
    // For each query the kept members, the nearest first.
    let mut candidates: Vec<Vec<(f32, usize)>> = vec![Vec::with_capacity(kept + 1); queries.len()];
    distances(gpu, queries, set, &mut |block: Block<'_>| {
        for (row, values) in block.lines() {
            let best = &mut candidates[row];
            for (square, number) in values.iter().zip(block.columns.clone()) {
                let full = best.len() == kept;
                if (own && number == row) || (full && best[kept - 1].0 <= *square) {
                    continue;
                }
                let at = best.partition_point(|(other, _)| other <= square);
                best.insert(at, (*square, number));
                best.truncate(kept);
            }
        }
        watch(block.values.len())
    })?;
    let exact = |(row, candidates): (usize, Vec<(f32, usize)>)| {
        let measured = candidates
            .into_iter()
            .map(|(_, number)| Neighbour { number, square: distance(queries.row(row), set.row(number)) });
        let mut found: Neighbours = measured.collect();
        found.sort_by(|a, b| a.square.total_cmp(&b.square).then(a.number.cmp(&b.number)));
        found.truncate(k);
        found
    };
    Ok(candidates.into_iter().enumerate().map(exact).collect())
}

/// The squared distance below which a vector copies a member of `training`: 99 % of the members are further
/// than this from their nearest neighbours.
///
/// # Errors
/// The errors of [`nearest`]; [`EvalError::TooFew`] if there are not two members.
pub fn copy_threshold<E: From<EvalError>>(
    gpu: &Gpu,
    training: &Features,
    watch: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Result<f64, E> {
    at_least("the search for copies", 2, &[training])?;
    let nearest = nearest(gpu, training, training, 1, true, watch)?;
    let mut spacing: Vec<f64> = nearest.into_iter().flatten().map(|neighbour| neighbour.square).collect();
    spacing.sort_by(f64::total_cmp);
    Ok(spacing[spacing.len() / 100])
}

/// The number of `samples` that are nearer than a [`copy_threshold`] to a member of `training`.
///
/// # Errors
/// The errors of [`nearest`].
pub fn copies<E: From<EvalError>>(
    gpu: &Gpu,
    samples: &Features,
    training: &Features,
    threshold: f64,
    watch: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Result<usize, E> {
    let nearest = nearest(gpu, samples, training, 1, false, watch)?;
    Ok(nearest.iter().filter(|found| found.first().is_some_and(|found| found.square < threshold)).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tests::uniform;

    fn quiet(_: usize) -> Result<(), EvalError> {
        Ok(())
    }

    #[test]
    fn the_device_finds_the_neighbours_that_float64_finds() {
        let gpu = Gpu::open(None).unwrap();
        // Far from the origin, and more members than a block has columns.
        let (queries, set) = (uniform(1, 130, 6, 1.0, 100.0), uniform(2, 5000, 6, 1.0, 100.0));
        let mut pairs = 0;
        let found = nearest::<EvalError>(&gpu, &queries, &set, 3, false, &mut |n| {
            pairs += n;
            Ok(())
        });
        assert_eq!(pairs, 130 * 5000);
        for (row, found) in found.unwrap().into_iter().enumerate() {
            let mut all: Neighbours = (0..set.len())
                .map(|number| Neighbour { number, square: distance(queries.row(row), set.row(number)) })
                .collect();
            all.sort_by(|a, b| a.square.total_cmp(&b.square));
            assert_eq!(found, all[..3], "{row}");
        }
    }

    #[test]
    fn a_member_of_a_set_is_not_its_own_neighbour() {
        let gpu = Gpu::open(None).unwrap();
        let set = Features::new(vec![0.0, 1.0, 1.0, 4.0], 1).unwrap();
        let found = nearest(&gpu, &set, &set, 2, true, &mut quiet).unwrap();
        let numbers: Vec<Vec<usize>> =
            found.iter().map(|found| found.iter().map(|n| n.number).collect()).collect();
        assert_eq!(numbers, [[1, 2], [2, 0], [1, 0], [1, 2]]);
    }

    #[test]
    fn a_sample_on_top_of_a_training_image_is_a_copy() {
        let gpu = Gpu::open(None).unwrap();
        let training: Vec<f32> = (0..200).map(|i| i as f32 * (1.0 + 0.001 * i as f32)).collect();
        let samples = Features::new(vec![training[17], -40.0, training[150] + 1e-4], 1).unwrap();
        let training = Features::new(training, 1).unwrap();
        let threshold = copy_threshold(&gpu, &training, &mut quiet).unwrap();
        assert_eq!(copies(&gpu, &samples, &training, threshold, &mut quiet).unwrap(), 2);
        let one = training.pick(&[0]);
        assert!(matches!(copy_threshold(&gpu, &one, &mut quiet), Err(EvalError::TooFew { .. })));
    }
}
