//! Detection of samples that copy training images.

/// The number of `samples` that copy an image in `training`, both consecutive vectors of length `dimensions`.
/// A sample is a copy if it is closer to a training image than 99 % of the training images are to their
/// nearest neighbours.
pub fn copies(samples: &[f64], training: &[f64], dimensions: usize) -> usize {
    let set: Vec<&[f64]> = training.chunks_exact(dimensions).collect();
    let mut spacing: Vec<f64> = set
        .iter()
        .enumerate()
        .map(|(i, image)| nearest(image, &set[..i]).min(nearest(image, &set[i + 1..])))
        .collect();
    spacing.sort_by(f64::total_cmp);
    let Some(threshold) = spacing.get(spacing.len() / 100) else { return 0 };
    samples.chunks_exact(dimensions).filter(|sample| nearest(sample, &set) < *threshold).count()
}

/// The squared distance to the nearest vector of `set`.
fn nearest(vector: &[f64], set: &[&[f64]]) -> f64 {
    let distance = |other: &&[f64]| vector.iter().zip(*other).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    set.iter().map(distance).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_on_top_of_a_training_image_is_a_copy() {
        let training: Vec<f64> = (0..200).map(|i| f64::from(i) * (1.0 + 0.001 * f64::from(i))).collect();
        let samples = [training[17], -40.0, training[150] + 1e-6];
        assert_eq!(copies(&samples, &training, 1), 2);
        assert_eq!(copies(&samples, &[], 1), 0);
    }
}
