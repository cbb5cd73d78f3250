//! `optim`: Adam.

use super::{ConfigError, refuse, within};
use serde::{Deserialize, Serialize};

/// `optim`: Adam.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Optim {
    /// The optimiser; only `Adam` is supported.
    pub optimizer: String,
    /// Learning rate after the warm-up.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the square root of the second moment.
    pub eps: f64,
    /// The factor of the weights that is added to the gradient.
    pub weight_decay: f64,
    /// Steps over which the learning rate rises from 0.
    pub warmup: u64,
    /// The global norm that gradients are clipped to; negative for no clipping.
    pub grad_clip: f64,
}

impl Default for Optim {
    fn default() -> Self {
        Optim {
            optimizer: "Adam".into(),
            lr: 2e-4,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            warmup: 5000,
            grad_clip: 1.0,
        }
    }
}

impl Optim {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.optimizer != "Adam" {
            return Err(refuse("optim.optimizer", &self.optimizer, "only Adam is supported"));
        }
        within("optim.lr", self.lr, 0.0..f64::INFINITY, "a number from 0 up")?;
        within("optim.beta1", self.beta1, 0.0..1.0, "a number from 0 to below 1")?;
        within("optim.beta2", self.beta2, 0.0..1.0, "a number from 0 to below 1")?;
        within("optim.eps", self.eps, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        within("optim.weight_decay", self.weight_decay, 0.0..f64::INFINITY, "a number from 0 up")?;
        if !self.grad_clip.is_finite() || self.grad_clip == 0.0 {
            let why = "it must be a number above 0, or below 0 for no clipping";
            return Err(refuse("optim.grad_clip", self.grad_clip, why));
        }
        Ok(())
    }
}
