//! The accuracy of a classifier of diffused images, by noise level.

use crate::data::{Dataset, scale};
use crate::kernels::combine::Form;
use crate::kernels::{KernelError, Result};
use crate::nn::Classifier;
use crate::random::{Key, Purpose};
use crate::sde::Marginal;
use crate::tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// A classifier's accuracy at one level of noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The time.
    pub t: f64,
    /// The perturbation kernel: x = mean · x₀ + std · z.
    pub marginal: Marginal,
    /// The fraction of correctly classified images, in [0, 1].
    pub accuracy: f64,
    /// The mean of −log p(y | x) for the true class y, in nats.
    pub cross_entropy: f64,
}

/// Images in one batch of the classifier.
const BATCH: usize = 100;

/// Noise levels: the smallest one of the process, and those at the times 0.1, 0.2, …, 1.
pub const NOISE_LEVELS: usize = 11;

/// The accuracy on the labelled images of `set` at noise level `i` of [`NOISE_LEVELS`]. `centered` says that the model's range
/// is [−1, 1]; `seed` determines the noise.
///
/// # Errors
/// [`KernelError::Mismatch`] if the images have no labels, or a label that is not a class of the classifier.
pub fn accuracy_at(
    i: usize,
    classifier: &Classifier,
    set: &Dataset,
    centered: bool,
    seed: u64,
) -> Result<Accuracy> {
    let known = |label: &u32| (*label as usize) < classifier.classes();
    let labels = set.labels.as_ref().filter(|labels| labels.iter().all(known));
    let labels = labels.ok_or_else(|| KernelError::Mismatch {
        kernel: "accuracy",
        what: format!("the images have no labels, or some of more than {} classes", classifier.classes()),
    })?;
    let images: Vec<f32> = set.pixels.iter().map(|level| scale(f64::from(*level), centered) as f32).collect();
    let shape = Shape::of_images(set.len(), set.shape());
    let t = match i {
        0 => classifier.process().sampling_eps(),
        _ => i as f64 / (NOISE_LEVELS - 1) as f64,
    };
    let key = Key::new(seed, Purpose::Evaluation).at(i as u32);
    let probabilities = log_probabilities(classifier, &images, shape, t, Some(key))?;
    let right = probabilities.iter().zip(labels).filter(|(row, label)| largest(row) == **label as usize);
    let nats: f64 = probabilities.iter().zip(labels).map(|(row, label)| -row[*label as usize]).sum();
    let (accuracy, cross_entropy) = (right.count() as f64 / set.len() as f64, nats / set.len() as f64);
    Ok(Accuracy { t, marginal: classifier.process().marginal_prob(t), accuracy, cross_entropy })
}

/// The most probable class of each image, `[n, h, w, c]` in the model's range, at the smallest noise level of
/// the process.
///
/// # Errors
/// [`KernelError::Mismatch`] if the classifier does not accept images of this shape.
pub fn classify(classifier: &Classifier, images: &[f32], shape: Shape) -> Result<Vec<usize>> {
    let t = classifier.process().sampling_eps();
    Ok(log_probabilities(classifier, images, shape, t, None)?.iter().map(|row| largest(row)).collect())
}

fn largest(row: &[f64]) -> usize {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0)
}

/// log p_t(y | x) of each image for every class. With `key`, x = mean · image + std · z; without it, x is the
/// image itself.
fn log_probabilities(
    classifier: &Classifier,
    images: &[f32],
    shape: Shape,
    t: f64,
    key: Option<Key>,
) -> Result<Vec<Vec<f64>>> {
    let size = shape.with_n(1).len();
    let Marginal { mean, std } = classifier.process().marginal_prob(t);
    let mut rows = Vec::with_capacity(shape.n());
    for (i, images) in images.chunks(BATCH * size).enumerate() {
        let n = images.len() / size;
        let mut x = Tensor::from_slice(classifier.gpu(), shape.with_n(n), images)?;
        if let Some(key) = key {
            x = (&x * mean + Form::normal(key.from((i * BATCH) as u32)) * std).run()?;
        }
        let logits = classifier.logits(&x, &vec![t; n])?.read()?;
        rows.extend(logits.chunks(classifier.classes()).map(log_softmax));
    }
    Ok(rows)
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().fold(f64::NEG_INFINITY, |top, v| top.max(f64::from(*v)));
    let total = logits.iter().map(|v| (f64::from(*v) - top).exp()).sum::<f64>().ln();
    logits.iter().map(|v| f64::from(*v) - top - total).collect()
}
