//! The Inception score (Salimans 2016): exp E KL(p(y | x) ‖ p(y)), large where each image has one class and all
//! classes are present.

use super::features::at_least;
use super::{EvalError, Features};

/// An Inception score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InceptionScore {
    /// The mean over the splits.
    pub mean: f64,
    /// The standard deviation over the splits, divided by their number as usual for this score.
    pub deviation: f64,
    /// Number of splits.
    pub splits: usize,
}

/// The splits by convention.
const SPLITS: usize = 10;

/// The score of images with these logits, in ten splits of consecutive images.
///
/// # Errors
/// [`EvalError::TooFew`] if there are less than ten images.
pub fn inception_score(logits: &Features) -> Result<InceptionScore, EvalError> {
    at_least("the Inception score", SPLITS, &[logits])?;
    let n = logits.len();
    let scores: Vec<f64> =
        (0..SPLITS).map(|split| score(logits, split * n / SPLITS, (split + 1) * n / SPLITS)).collect();
    let mean = scores.iter().sum::<f64>() / SPLITS as f64;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / SPLITS as f64;
    Ok(InceptionScore { mean, deviation: variance.sqrt(), splits: SPLITS })
}

/// The score of the images `first .. end`.
fn score(logits: &Features, first: usize, end: usize) -> f64 {
    let count = (end - first) as f64;
    let mut marginal = vec![0.0; logits.dimensions()];
    // E Σ p log p.
    let mut certainty = 0.0;
    for row in first..end {
        let logs = log_softmax(logits.row(row));
        for (sum, log) in marginal.iter_mut().zip(logs) {
            *sum += log.exp() / count;
            certainty += log.exp() * log / count;
        }
    }
    let entropy: f64 = marginal.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
    (certainty + entropy).exp()
}

fn log_softmax(logits: &[f32]) -> impl Iterator<Item = f64> {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, v| m.max(f64::from(*v)));
    let total = logits.iter().map(|v| (f64::from(*v) - largest).exp()).sum::<f64>().ln() + largest;
    logits.iter().map(move |v| f64::from(*v) - total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tests::uniform;

    #[test]
    fn certain_images_of_k_classes_score_k_and_undecided_ones_score_1() {
        let certain = (0..400).flat_map(|i| (0..4).map(move |k| if i % 4 == k { 60.0 } else { 0.0 }));
        let score = inception_score(&Features::new(certain.collect(), 4).unwrap()).unwrap();
        assert!((score.mean - 4.0).abs() < 1e-9 && score.deviation < 1e-9, "{score:?}");
        let undecided = Features::new(vec![3.0; 40], 4).unwrap();
        assert!((inception_score(&undecided).unwrap().mean - 1.0).abs() < 1e-12);
        assert!(inception_score(&Features::new(vec![0.0; 36], 4).unwrap()).is_err());
    }

    #[test]
    fn logits_have_the_score_that_numpy_computes() {
        let score = inception_score(&uniform(1, 90, 24, 4.0, 0.0)).unwrap();
        assert!((score.mean / MEAN - 1.0).abs() < 1e-6, "{score:?}");
        assert!((score.deviation / DEVIATION - 1.0).abs() < 1e-5, "{score:?}");
    }

    /// By scripts/evaluation_fixtures.py.
    const MEAN: f64 = 1.660392533627661;
    const DEVIATION: f64 = 0.058134029572819754;
}
