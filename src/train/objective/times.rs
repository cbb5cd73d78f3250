//! The times that an objective trains on, and what each weighs.

use crate::config::{self, Config};
use crate::nn::{Architecture, Label, ScoreModel};
use crate::random::Key;
use crate::sde::{self, Importance, Marginal};

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
        if let Times::LogNormal { mean, std } = self {
            let [normal, ..] = key.normal(sample, 0).map(f64::from);
            return of_log_sigma(model, mean + std * normal);
        }
        let [u, ..] = key.uniform(sample, 0).map(f64::from);
        self.at(model, u)
    }

    /// The target at a quantile, from 0 to below 1, of the noise levels from the lowest up.
    pub(super) fn quantile<A: Architecture>(&self, model: &ScoreModel<A>, u: f64) -> Target {
        match self {
            // NCSN's ladder is counted from the highest level down.
            Times::Steps(steps)
                if steps.first().zip(steps.last()).is_some_and(|(a, b)| a.0.std > b.0.std) =>
            {
                self.at(model, 1.0 - f64::EPSILON - u)
            }
            _ => self.at(model, u),
        }
    }

    /// The target of a number that is uniform on [0, 1).
    fn at<A: Architecture>(&self, model: &ScoreModel<A>, u: f64) -> Target {
        match self {
            Times::Uniform { likelihood } => {
                let t = EPS + (1.0 - EPS) * u;
                // λ = g² instead of s²: the residual is s (score + z / s).
                let ratio = || model.process.diffusion(t) / model.process.marginal_prob(t).std;
                of_time(model, t, if *likelihood { ratio().powi(2) } else { 1.0 })
            }
            Times::Importance(importance) => {
                let t = importance.time(&*model.process, u);
                of_time(model, t, importance.total() / (1.0 - EPS))
            }
            Times::Steps(steps) => {
                let step = ((u * steps.len() as f64) as usize).min(steps.len() - 1);
                let (marginal, label) = steps[step];
                Target { label, marginal, weight: 1.0, step, class: None }
            }
            Times::LogNormal { mean, std } => of_log_sigma(model, mean + std * sde::quantile(u)),
        }
    }
}

fn of_time<A: Architecture>(model: &ScoreModel<A>, t: f64, weight: f64) -> Target {
    let (label, marginal) = (model.at(t), model.process.marginal_prob(t));
    Target { label, marginal, weight, step: 0, class: None }
}

fn of_log_sigma<A: Architecture>(model: &ScoreModel<A>, log_sigma: f64) -> Target {
    of_time(model, model.process.time_of_sigma(log_sigma.exp()).clamp(EPS, 1.0), 1.0)
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
            // Squared errors of the noise that fall with it, so that their weighted mean has a variance at
            // all.
            let error = |target: &Target| target.weight * target.marginal.std.min(1.0);
            let ((a, a_error), (b, b_error)) = (mean(&uniform, error), mean(&importance, error));
            let five = 5.0 * a_error.hypot(b_error);
            assert!((a - b).abs() < five.max(1e-9 * a), "{sde}: {a} ± {a_error} is not {b} ± {b_error}");
            // An error that is the same at all times has no variance left.
            assert!(mean(&importance, |target| target.weight).1 < 1e-9);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_drawn_noise_levels() {
        let ve = include_str!("../../../configs/digits_ve.toml");
        let vp = include_str!("../../../configs/digits_vp.toml");
        let edm = include_str!("../../../configs/digits_edm.toml");
        let discrete = ["training.continuous=false", "model.embedding_type=positional"];
        for (text, set) in [
            (ve, &[][..]),
            (vp, &["training.likelihood_weighting=true", "training.importance_sampling=true"]),
            (edm, &[]),
            (ve, &discrete),
            (vp, &["training.continuous=false"]),
        ] {
            let model = model(text, set);
            let sigma = |target: Target| target.marginal.std / target.marginal.mean;
            for quantile in [0.25, 0.5, 0.9] {
                let limit = sigma(model.1.quantile(&model.0, quantile));
                let (share, error) = mean(&model, |target| f64::from(sigma(*target) < limit));
                // A chain has a thousand levels.
                assert!((share - quantile).abs() < 5.0 * error + 1e-3, "{set:?}: {share} below {quantile}");
            }
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
