//! Metrics on samples and on classifiers, and bounds on data.

mod accuracy;
mod bits;
mod bound;
mod error;
mod exact;
mod features;
mod frechet;
mod inception_score;
mod kernel_distance;
mod moments;
mod neighbours;
mod precision_recall;
mod products;

pub use accuracy::{Accuracy, NOISE_LEVELS, accuracy_at, classify};
pub use bits::{Estimate, bits, nats};
pub use bound::{Bound, Measured, Terms};
pub use error::EvalError;
pub use exact::{Exact, ExactScore, score_error};
pub use features::Features;
pub use frechet::frechet_distance;
pub use inception_score::{InceptionScore, inception_score};
pub use kernel_distance::{KernelDistance, kernel_distance};
pub use moments::{Components, Moments};
pub use neighbours::{Neighbour, Neighbours, copies, copy_threshold, nearest};
pub use precision_recall::{PrecisionRecall, precision_recall};

#[cfg(test)]
mod tests {
    use super::Features;
    use crate::random::{Key, Purpose};

    /// The features of scripts/evaluation_fixtures.py: `scale` u + `shift`, u uniform on [0, 1), correlated by
    /// adding half of the element before.
    pub fn uniform(seed: u64, n: usize, dimensions: usize, scale: f32, shift: f32) -> Features {
        let key = Key::new(seed, Purpose::Other(0));
        let row = |i: usize| {
            let numbers: Vec<f32> =
                (0..dimensions.div_ceil(4)).flat_map(|block| key.uniform(i as u32, block as u32)).collect();
            (0..dimensions).map(move |j| {
                let before = if j > 0 { numbers[j - 1] } else { 0.0 };
                scale * (numbers[j] + 0.5 * before) + shift
            })
        };
        Features::new((0..n).flat_map(row).collect(), dimensions).unwrap()
    }
}
