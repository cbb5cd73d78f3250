//! `training`: the objective and the loop.

use super::{ConfigError, MAX_STEPS, Method, Model, ObjectiveName, Projection, count, refuse, within};
use crate::choice::choices;
use crate::sde::{Betas, PosteriorVariance, Process, SubVp, Ve, Vp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `training`: the objective and the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The forward process.
    pub sde: SdeName,
    /// The objective.
    #[serde(default)]
    pub objective: ObjectiveName,
    /// Train on continuous times (`true`) or on the discrete chain (`false`). Defaults to what the objective
    /// requires, or `true` if it allows both.
    #[serde(default = "super::yes")]
    pub continuous: bool,
    /// Images per step.
    pub batch_size: usize,
    /// Parts of a batch that the device computes one after another, for memory: the step is the same to
    /// rounding.
    #[serde(default = "defaults::accumulate")]
    pub accumulate: usize,
    /// Divide a batch that does not fit into the device's memory into more parts.
    #[serde(default)]
    pub fit_memory: bool,
    /// The number of steps.
    pub n_iters: u64,
    /// Average the squared error over pixels, instead of half its sum.
    #[serde(default)]
    pub reduce_mean: bool,
    /// Weight the loss by g(t)², which bounds the likelihood (Song 2021b).
    #[serde(default)]
    pub likelihood_weighting: bool,
    /// With likelihood weighting: sample times in proportion to their weight g(t)² / s(t)², for the same loss
    /// with less variance (Song 2021b).
    #[serde(default)]
    pub importance_sampling: bool,
    /// `objective = ssm`, `fd_ssm`: the distribution of the projections.
    #[serde(default)]
    pub projection: Projection,
    /// `objective = fd_ssm`: half the distance between the two points, in standard deviations of the noise.
    #[serde(default = "defaults::fd_eps")]
    pub fd_eps: f64,
    /// `objective = vlb`: the variance of the reverse steps.
    #[serde(default)]
    pub posterior_variance: PosteriorVariance,
    /// `objective = edm`: the mean of log σ.
    #[serde(default = "defaults::p_mean")]
    pub p_mean: f64,
    /// `objective = edm`: its standard deviation.
    #[serde(default = "defaults::p_std")]
    pub p_std: f64,
    /// Steps between checkpoints.
    #[serde(default = "defaults::snapshot_freq")]
    pub snapshot_freq: u64,
    /// Minutes between checkpoints, besides those of `snapshot_freq`; 0 for none.
    #[serde(default)]
    pub snapshot_minutes: f64,
    /// The number of newest checkpoints to keep; 0 for all.
    #[serde(default)]
    pub keep_last: u64,
    /// With `keep_last`: checkpoints of steps that are multiples of this are kept as well; 0 for none.
    #[serde(default)]
    pub keep_every: u64,
    /// Steps between rows of `metrics.csv`.
    #[serde(default = "defaults::log_freq")]
    pub log_freq: u64,
    /// Steps between evaluations of the loss on held-out data; 0 for none.
    #[serde(default)]
    pub eval_freq: u64,
    /// Draw samples at every checkpoint.
    #[serde(default = "super::yes")]
    pub snapshot_sampling: bool,
    /// The sampler of these samples, with the options of `[sampling]` but for its steps.
    #[serde(default = "defaults::snapshot_sampler")]
    pub snapshot_sampler: Method,
    /// Its steps.
    #[serde(default = "defaults::snapshot_steps")]
    pub snapshot_steps: usize,
}

/// Declares the processes that a configuration names, a line each: documentation, name, and the process of a
/// `[model]`.
macro_rules! processes {
    ($( $(#[doc = $help:literal])+ $Name:ident = $name:literal, $process:expr; )+) => {
        choices! {
            /// The names of the forward processes.
            pub enum SdeName {
                $( $(#[doc = $help])+ $Name = $name, )+
            }
        }

        impl SdeName {
            /// The process of this name, with the parameters of `model`.
            pub(super) fn process(self, model: &Model) -> Arc<dyn Process> {
                match self {
                    $( SdeName::$Name => {
                        let process: fn(&Model) -> Arc<dyn Process> = $process;
                        process(model)
                    } )+
                }
            }
        }
    };
}

processes! {
    /// Variance exploding.
    Vesde = "vesde", |m| Arc::new(Ve { sigma_min: m.sigma_min, sigma_max: m.sigma_max });
    /// Variance preserving.
    Vpsde = "vpsde", |m| match m.betas() {
        None => Arc::new(Vp { beta_min: m.beta_min, beta_max: m.beta_max }),
        Some(betas) => Arc::new(Betas::new(&betas)),
    };
    /// Sub-variance preserving.
    Subvpsde = "subvpsde", |m| Arc::new(SubVp { beta_min: m.beta_min, beta_max: m.beta_max });
}

impl Training {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        count("training.batch_size", self.batch_size as u64, MAX_STEPS)?;
        count("training.accumulate", self.accumulate as u64, self.batch_size as u64)?;
        count("training.n_iters", self.n_iters, MAX_STEPS)?;
        count("training.snapshot_freq", self.snapshot_freq, u64::MAX)?;
        count("training.log_freq", self.log_freq, u64::MAX)?;
        count("training.snapshot_steps", self.snapshot_steps as u64, MAX_STEPS)?;
        within("training.fd_eps", self.fd_eps, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        within("training.p_std", self.p_std, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        within("training.p_mean", self.p_mean, f64::MIN..f64::INFINITY, "a number")?;
        within("training.snapshot_minutes", self.snapshot_minutes, 0.0..1e9, "a number from 0 up")?;
        if self.keep_every > 0 && self.keep_last == 0 {
            let why = "nothing reads it without training.keep_last; set that, or leave it out";
            return Err(refuse("training.keep_every", self.keep_every, why));
        }
        if !self.continuous && self.sde == SdeName::Subvpsde {
            let why = "it must be true: sub-VP has no discrete chain";
            return Err(refuse("training.continuous", false, why));
        }
        Ok(())
    }
}

/// The reference's defaults (`configs/default_*_configs.py`), and EDM's (Karras 2022, table 1).
mod defaults {
    use super::Method;

    pub fn accumulate() -> usize {
        1
    }
    pub fn fd_eps() -> f64 {
        0.05
    }
    pub fn p_mean() -> f64 {
        -1.2
    }
    pub fn p_std() -> f64 {
        1.2
    }
    pub fn snapshot_freq() -> u64 {
        50_000
    }
    pub fn log_freq() -> u64 {
        50
    }
    pub fn snapshot_sampler() -> Method {
        Method::Dpmpp2m
    }
    pub fn snapshot_steps() -> usize {
        16
    }
}
