//! `sampling`: the defaults of `tweedie sample`.

use super::{ConfigError, refuse, within};
use serde::{Deserialize, Serialize};

/// `sampling`: the defaults of `tweedie sample`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// `pc`.
    pub method: Method,
    /// The predictor.
    pub predictor: PredictorName,
    /// The corrector.
    pub corrector: CorrectorName,
    /// Corrector steps at each time.
    pub n_steps_each: u16,
    /// The corrector's target signal-to-noise ratio.
    pub snr: f64,
    /// Leave the noise of the last step out.
    pub noise_removal: bool,
    /// Run the predictor on the probability flow instead of the reverse-time SDE.
    pub probability_flow: bool,
    /// Steps of the predictor; 0 means `model.num_scales`.
    pub steps: usize,
    /// Whether the Langevin step's norms are those of a sample or, as in the reference, means over the batch.
    pub langevin_norms: Over,
    /// Relative tolerance of adaptive solvers.
    pub rtol: f64,
    /// Absolute tolerance of adaptive solvers, in the model's range.
    pub atol: f64,
    /// Whether adaptive solvers control each sample by its own error or, as in the reference, the batch jointly.
    pub error_norm: Over,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            method: Method::Pc,
            predictor: PredictorName::ReverseDiffusion,
            corrector: CorrectorName::Langevin,
            n_steps_each: 1,
            snr: 0.16,
            noise_removal: true,
            probability_flow: false,
            steps: 0,
            langevin_norms: Over::Sample,
            rtol: 1e-5,
            atol: 1e-5,
            error_norm: Over::Sample,
        }
    }
}

/// Families of samplers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum Method {
    /// Predictor and corrector.
    Pc,
}

/// The predictors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum PredictorName {
    /// Euler–Maruyama on the reverse-time SDE.
    EulerMaruyama,
    /// The forward discretisation reversed.
    ReverseDiffusion,
    /// Ancestral sampling: the posterior of the discrete chain.
    AncestralSampling,
    /// No predictor.
    None,
}

/// The correctors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum CorrectorName {
    /// Langevin dynamics.
    Langevin,
    /// Annealed Langevin dynamics.
    Ald,
    /// No corrector.
    None,
}

/// Over what a norm is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum Over {
    /// Each sample: it does not depend on its batch.
    Sample,
    /// The batch, as in the reference.
    Batch,
}

impl Sampling {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.steps == 1 {
            let why = "a sampler needs at least 2; 0 means model.num_scales";
            return Err(refuse("sampling.steps", 1, why));
        }
        within("sampling.snr", self.snr, 0.0..f64::INFINITY, "a number from 0 up")?;
        within("sampling.rtol", self.rtol, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        within("sampling.atol", self.atol, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")
    }
}
