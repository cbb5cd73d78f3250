//! The times that an objective trains on, and what each weighs.

use crate::config::{self, Config};
use crate::nn::{Architecture, Label, ScoreModel};
use crate::random::Key;
use crate::sde::{Importance, Marginal};

/// Training never asks for the score at less than this time.
const EPS: f64 = 1e-5;

/// The time and the weight of a training sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub label: Label,
    pub marginal: Marginal,
    /// The factor of the noise's squared error.
    pub weight: f64,
    /// The step of the chain, on one.
    pub step: usize,
    /// The class that it is about, if any.
    pub class: Option<usize>,
}

/// How times are drawn.
#[derive(Debug, Clone)]
pub(super) enum Times {
    /// Uniform on [1e-5, 1]; weighted by g² / s² for the likelihood.
    Uniform { likelihood: bool },
    /// By g² / s², instead of being weighted by it.
    Importance(Importance),
    /// Uniform over the steps of the model's chain.
    Steps(Vec<(Marginal, Label)>),
    /// With log σ normal (Karras 2022, table 1), as far as the process has such noise.
    LogNormal { mean: f64, std: f64 },
}

impl Times {
    pub(super) fn new<A: Architecture>(config: &Config, model: &ScoreModel<A>) -> Times {
        let training = &config.training;
        match (training.objective, training.continuous) {
            (config::ObjectiveName::Edm, _) => {
                Times::LogNormal { mean: training.p_mean, std: training.p_std }
            }
            (_, false) => Times::Steps(model.steps()),
            (_, true) if training.importance_sampling => Times::Importance(model.process.importance(EPS)),
            (_, true) => Times::Uniform { likelihood: training.likelihood_weighting },
        }
    }

    /// The target of a sample, by the key of the step's times.
    pub(super) fn target<A: Architecture>(&self, model: &ScoreModel<A>, key: Key, sample: u32) -> Target {
        let [u, ..] = key.uniform(sample, 0).map(f64::from);
        let at = |t: f64, weight: f64| Target {
            label: model.at(t),
            marginal: model.process.marginal_prob(t),
            weight,
            step: 0,
            class: None,
        };
        match self {
            Times::Uniform { likelihood } => {
                let t = EPS + (1.0 - EPS) * u;
                // λ = g² instead of s²: the residual is s (score + z / s).
                let ratio = || model.process.diffusion(t) / model.process.marginal_prob(t).std;
                at(t, if *likelihood { ratio().powi(2) } else { 1.0 })
            }
            Times::Importance(importance) => {
                at(importance.time(&*model.process, u), importance.total() / (1.0 - EPS))
            }
            Times::Steps(steps) => {
                let step = (u * steps.len() as f64) as usize;
                let (marginal, label) = steps[step];
                Target { label, marginal, weight: 1.0, step, class: None }
            }
            Times::LogNormal { mean, std } => {
                let [normal, ..] = key.normal(sample, 0).map(f64::from);
                at(model.process.time_of_sigma((mean + std * normal).exp()).clamp(EPS, 1.0), 1.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn model(text: &str, set: &[&str]) -> (ScoreModel, Times) {
        let set: Vec<String> = set.iter().map(ToString::to_string).collect();
        let config = Config::from_toml(text, &set).unwrap();
        let model = ScoreModel::build(&config).unwrap();
        let times = Times::new(&config, &model);
        (model, times)
    }

    /// Mean and standard error of a number of each of 100,000 draws.
    fn mean((model, times): &(ScoreModel, Times), f: impl Fn(&Target) -> f64) -> (f64, f64) {
        let key = Key::new(11, Purpose::Time);
        let n = 100_000;
        let values: Vec<f64> = (0..n).map(|sample| f(&times.target(model, key, sample))).collect();
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n - 1);
        (mean, (variance / f64::from(n)).sqrt())
    }

    #[test]
    fn drawn_by_importance_the_likelihood_weighted_loss_has_the_same_mean() {
        let vp = include_str!("../../../configs/digits_vp.toml");
        let ve = include_str!("../../../configs/digits_ve.toml");
        for (text, sde) in [(ve, "vesde"), (vp, "vpsde"), (vp, "subvpsde")] {
            let sde = format!("training.sde={sde}");
            let weighted = [sde.as_str(), "training.likelihood_weighting=true"];
            let by_weight = [&weighted[..], &["training.importance_sampling=true"]].concat();
            let (uniform, importance) = (model(text, &weighted), model(text, &by_weight));
            // Squared errors of the noise that fall with it, so that their weighted mean has a variance at all.
            let error = |target: &Target| target.weight * target.marginal.std.min(1.0);
            let ((a, a_error), (b, b_error)) = (mean(&uniform, error), mean(&importance, error));
            let five = 5.0 * a_error.hypot(b_error);
            assert!((a - b).abs() < five.max(1e-9 * a), "{sde}: {a} ± {a_error} is not {b} ± {b_error}");
            // An error that is the same at all times has no variance left.
            assert!(mean(&importance, |target| target.weight).1 < 1e-9);
        }
    }

    #[test]
    fn edm_draws_normal_logarithms_of_sigma() {
        // Within the noise that the process has.
        let set = [
            "training.objective=edm",
            "model.scale_by_sigma=false",
            "model.sigma_max=80",
            "model.sigma_min=1e-4",
        ];
        let edm = model(include_str!("../../../configs/digits_ve.toml"), &set);
        let log = |target: &Target| target.marginal.std.ln();
        let (first, error) = mean(&edm, log);
        assert!((first + 1.2).abs() < 5.0 * error, "{first} ± {error}");
        let (second, error) = mean(&edm, |target| (log(target) + 1.2).powi(2));
        assert!((second - 1.44).abs() < 5.0 * error, "{second} ± {error}");
    }
}
