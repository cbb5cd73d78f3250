//! What a step trains on: times, labels, and the coefficients of the denoising loss (Song 2021, eq. 7).

use crate::config::Training;
use crate::kernels::score_matching::Coefficients;
use crate::nn::{Label, ScoreModel};
use crate::random::{Key, Purpose};
use crate::sde::Marginal;

/// Training never asks for the score at less than this time.
const EPS: f64 = 1e-5;

/// What one step trains each sample of its batch on.
pub(super) struct Targets {
    pub labels: Vec<Label>,
    pub coefficients: Vec<Coefficients>,
}

/// Draws a time for each of `batch` samples of `dimensions`: continuous ones uniform on [1e-5, 1], discrete ones
/// uniform over the chain.
pub(super) fn targets(
    model: &ScoreModel,
    config: &Training,
    key: Key,
    batch: usize,
    dimensions: usize,
) -> Targets {
    // Half of the sum over pixels, or their mean; and the mean over the batch.
    let reduction = if config.reduce_mean { 1.0 / dimensions as f64 } else { 0.5 } / batch as f64;
    let target = |sample: u32| {
        let [u, ..] = key.uniform(sample, 0).map(f64::from);
        let (label, marginal, diffusion) = if config.continuous {
            let t = EPS + (1.0 - EPS) * u;
            (model.label(t), model.sde.marginal_prob(t), model.sde.diffusion(t))
        } else {
            let step = (u * model.sde.n as f64) as usize;
            (model.step_label(step), model.step_marginal(step), 1.0)
        };
        // λ = g² instead of s²: the residual is s (score + z / s).
        let weighting = if config.likelihood_weighting { (diffusion / marginal.std).powi(2) } else { 1.0 };
        (label, coefficients(marginal, label, reduction * weighting))
    };
    let (labels, coefficients) = (0..batch as u32).map(target).unzip();
    Targets { labels, coefficients }
}

fn coefficients(marginal: Marginal, label: Label, weight: f64) -> Coefficients {
    Coefficients {
        mean: marginal.mean as f32,
        std: marginal.std as f32,
        scale: (label.score.net * marginal.std) as f32,
        weight: weight as f32,
    }
}

/// The key of a step's times.
pub(super) fn time_key(seed: u64, step: u32) -> Key {
    Key::new(seed, Purpose::Time).at(step)
}
