//! `sampling`: the defaults of `tweedie sample`.

use super::{ConfigError, positive, refuse, within};
use serde::{Deserialize, Serialize};

/// `sampling`: the defaults of `tweedie sample`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// The family of samplers.
    pub method: Method,
    /// The predictor.
    pub predictor: PredictorName,
    /// The corrector.
    pub corrector: CorrectorName,
    /// Corrector steps at each time, Langevin steps at each level of annealed Langevin dynamics.
    pub n_steps_each: u16,
    /// The corrector's target signal-to-noise ratio.
    pub snr: f64,
    /// Leapfrog steps of a trajectory of the corrector `hmc`.
    pub hmc_leapfrog: u16,
    /// ε of annealed Langevin dynamics, whose steps x + α score + √(2α) z have α = ε σ² / σ_min²; 0 for the one that keeps the
    /// variance best (NCSNv2, technique 4).
    pub ald_eps: f64,
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
            hmc_leapfrog: 3,
            ald_eps: 0.0,
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
    /// Annealed Langevin dynamics on the ladder of noise levels.
    Ald,
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
    /// The probability flow, discretised like the reverse diffusion: no noise.
    ProbabilityFlow,
    /// A Runge–Kutta method for additive noise of strong order 1.5 and weak order 2: two evaluations a step.
    StochasticRungeKutta,
    /// No predictor.
    None,
}

/// The correctors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum CorrectorName {
    /// Langevin dynamics whose step comes from the norms of the score and the noise.
    Langevin,
    /// Annealed Langevin dynamics: the step comes from the time's standard deviation.
    Ald,
    /// Metropolis-adjusted Langevin dynamics, with that step.
    Mala,
    /// Hamiltonian Monte Carlo, with leapfrog steps that are Langevin's in size.
    Hmc,
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
        within("sampling.snr", self.snr, 0.0..f64::INFINITY, "a number from 0 up")?;
        within("sampling.ald_eps", self.ald_eps, 0.0..f64::INFINITY, "a number from 0 up")?;
        positive("sampling.hmc_leapfrog", self.hmc_leapfrog.into())?;
        if self.method == Method::Ald {
            positive("sampling.n_steps_each", self.n_steps_each.into())?;
        }
        if self.probability_flow && self.predictor == PredictorName::AncestralSampling {
            let why = "ancestral sampling has no probability flow; name another sampling.predictor";
            return Err(refuse("sampling.probability_flow", true, why));
        }
        within("sampling.rtol", self.rtol, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        within("sampling.atol", self.atol, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")
    }
}
