//! The times that an objective trains on, and what each weighs.

use crate::config::{self, Config};
use crate::nn::{Label, ScoreModel};
use crate::random::Key;
use crate::sde::{Importance, Marginal};

/// Training never asks for the score at less than this time.
const EPS: f64 = 1e-5;

/// What one sample is trained on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub label: Label,
    pub marginal: Marginal,
    /// What the noise's squared error is multiplied by.
    pub weight: f64,
    /// The step of the chain, on one.
    pub step: usize,
}

/// How times are drawn.
#[derive(Debug, Clone)]
pub(super) enum Times {
    /// Uniform on [1e-5, 1]; weighted by g² / s² for the likelihood.
    Uniform { likelihood: bool },
    /// By g² / s², instead of being weighted by it.
    Importance(Importance),
    /// Uniform over the steps of the chain.
    Steps,
    /// With log σ normal (Karras 2022, table 1), as far as the process has such noise.
    LogNormal { mean: f64, std: f64 },
}

impl Times {
    pub(super) fn new(config: &Config) -> Times {
        let training = &config.training;
        match (training.objective, training.continuous) {
            (config::Objective::Edm, _) => Times::LogNormal { mean: training.p_mean, std: training.p_std },
            (_, false) => Times::Steps,
            (_, true) if training.importance_sampling => Times::Importance(config.sde().importance(EPS)),
            (_, true) => Times::Uniform { likelihood: training.likelihood_weighting },
        }
    }

    /// The target of a sample, by the key of the step's times.
    pub(super) fn target(&self, model: &ScoreModel, key: Key, sample: u32) -> Target {
        let [u, ..] = key.uniform(sample, 0).map(f64::from);
        let at = |t: f64, weight: f64| Target {
            label: model.label(t),
            marginal: model.sde.marginal_prob(t),
            weight,
            step: 0,
        };
        match *self {
            Times::Uniform { likelihood } => {
                let t = EPS + (1.0 - EPS) * u;
                // λ = g² instead of s²: the residual is s (score + z / s).
                let ratio = || model.sde.diffusion(t) / model.sde.marginal_prob(t).std;
                at(t, if likelihood { ratio().powi(2) } else { 1.0 })
            }
            Times::Importance(importance) => at(importance.time(u), importance.total() / (1.0 - EPS)),
            Times::Steps => {
                let step = (u * model.sde.n as f64) as usize;
                Target {
                    label: model.step_label(step),
                    marginal: model.step_marginal(step),
                    weight: 1.0,
                    step,
                }
            }
            Times::LogNormal { mean, std } => {
                let [normal, ..] = key.normal(sample, 0).map(f64::from);
                at(model.sde.time_of_sigma((mean + std * normal).exp()).clamp(EPS, 1.0), 1.0)
            }
        }
    }
}
