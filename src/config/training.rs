//! `training`: the objective and the loop.

use super::{ConfigError, MAX_STEPS, count, refuse};
use serde::{Deserialize, Serialize};

/// `training`: the objective and the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The forward process.
    pub sde: SdeName,
    /// Continuous times, or the discretisation's.
    #[serde(default = "super::yes")]
    pub continuous: bool,
    /// Images in a step.
    pub batch_size: usize,
    /// Steps in all.
    pub n_iters: u64,
    /// Average the squared error over pixels instead of half of its sum.
    #[serde(default)]
    pub reduce_mean: bool,
    /// Weight the loss by g(t)², which bounds the likelihood (Song 2021b).
    #[serde(default)]
    pub likelihood_weighting: bool,
    /// Steps between checkpoints.
    #[serde(default = "defaults::snapshot_freq")]
    pub snapshot_freq: u64,
    /// Steps between rows of `metrics.csv`.
    #[serde(default = "defaults::log_freq")]
    pub log_freq: u64,
    /// Draw samples with every checkpoint.
    #[serde(default)]
    pub snapshot_sampling: bool,
}

/// The names of the forward processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SdeName {
    /// Variance exploding.
    Vesde,
    /// Variance preserving.
    Vpsde,
    /// Sub-variance preserving.
    Subvpsde,
}

impl Training {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        count("training.batch_size", self.batch_size as u64, MAX_STEPS)?;
        count("training.n_iters", self.n_iters, MAX_STEPS)?;
        count("training.snapshot_freq", self.snapshot_freq, u64::MAX)?;
        count("training.log_freq", self.log_freq, u64::MAX)?;
        if !self.continuous && self.sde == SdeName::Subvpsde {
            let why = "sub-VP has no discrete chain; it must be true";
            return Err(refuse("training.continuous", false, why));
        }
        Ok(())
    }
}

/// The reference's defaults (`configs/default_*_configs.py`).
mod defaults {
    pub fn snapshot_freq() -> u64 {
        50_000
    }
    pub fn log_freq() -> u64 {
        50
    }
}
