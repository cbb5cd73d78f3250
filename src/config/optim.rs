//! `optim`: Adam.

use super::{ConfigError, refuse, within};
use crate::choice::choices;
use serde::{Deserialize, Serialize};

choices! {
    /// The learning rate after the warm-up.
    pub enum LearningRate = Constant {
        /// It stays.
        Constant = "constant",
        /// It falls to 0 along a line.
        Linear = "linear",
        /// It falls to 0 along half a cosine.
        Cosine = "cosine",
    }
}

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
    /// The course of the learning rate after the warm-up.
    pub schedule: LearningRate,
    /// The step at which a falling learning rate is 0; with 0 it is `training.n_iters`.
    pub schedule_steps: u64,
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
            schedule: LearningRate::Constant,
            schedule_steps: 0,
            grad_clip: 1.0,
        }
    }
}

impl Optim {
    /// The learning rate after `step` steps of `n_iters`: it rises linearly over the warm-up, from 0, as in
    /// the reference, and then follows the schedule.
    pub(crate) fn rate(&self, step: u64, n_iters: u64) -> f64 {
        if step < self.warmup {
            return self.lr * (step as f64 / self.warmup as f64).min(1.0);
        }
        let end = self.schedule_end(n_iters).unwrap_or(u64::MAX).max(self.warmup + 1);
        let passed = ((step - self.warmup) as f64 / (end - self.warmup) as f64).min(1.0);
        match self.schedule {
            LearningRate::Constant => self.lr,
            LearningRate::Linear => self.lr * (1.0 - passed),
            LearningRate::Cosine => self.lr * 0.5 * (1.0 + (std::f64::consts::PI * passed).cos()),
        }
    }

    /// The step from which on the learning rate is 0, if it falls.
    pub(crate) fn schedule_end(&self, n_iters: u64) -> Option<u64> {
        let end = if self.schedule_steps > 0 { self.schedule_steps } else { n_iters };
        (self.schedule != LearningRate::Constant).then_some(end)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.optimizer != "Adam" {
            return Err(refuse("optim.optimizer", &self.optimizer, "only Adam is supported"));
        }
        within("optim.lr", self.lr, 0.0..f64::INFINITY, "a number from 0 up")?;
        within("optim.beta1", self.beta1, 0.0..1.0, "a number from 0 to below 1")?;
        within("optim.beta2", self.beta2, 0.0..1.0, "a number from 0 to below 1")?;
        within("optim.eps", self.eps, f64::MIN_POSITIVE..f64::INFINITY, "a number above 0")?;
        within("optim.weight_decay", self.weight_decay, 0.0..f64::INFINITY, "a number from 0 up")?;
        if self.schedule_steps > 0 && self.schedule_steps <= self.warmup {
            let why = format!(
                "the learning rate falls after the warm-up; it must be above optim.warmup = {}",
                self.warmup
            );
            return Err(refuse("optim.schedule_steps", self.schedule_steps, why));
        }
        if !self.grad_clip.is_finite() || self.grad_clip == 0.0 {
            let why = "it must be a number above 0, or below 0 for no clipping";
            return Err(refuse("optim.grad_clip", self.grad_clip, why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_over_the_warm_up_and_falls_over_the_schedule() {
        let optim = |schedule, schedule_steps| Optim {
            lr: 1.0,
            warmup: 10,
            schedule,
            schedule_steps,
            ..Optim::default()
        };
        let rates =
            |optim: &Optim, steps: [u64; 5]| steps.map(|step| (1e6 * optim.rate(step, 110)).round() / 1e6);
        assert_eq!(rates(&optim(LearningRate::Constant, 0), [0, 5, 10, 60, 999]), [0.0, 0.5, 1.0, 1.0, 1.0]);
        assert_eq!(rates(&optim(LearningRate::Linear, 0), [5, 10, 35, 60, 110]), [0.5, 1.0, 0.75, 0.5, 0.0]);
        let eighth = (1e6 * 0.5 * (1.0 + std::f64::consts::FRAC_1_SQRT_2)).round() / 1e6;
        assert_eq!(
            rates(&optim(LearningRate::Cosine, 0), [10, 35, 60, 110, 999]),
            [1.0, eighth, 0.5, 0.0, 0.0]
        );
        assert_eq!(rates(&optim(LearningRate::Linear, 20), [10, 15, 20, 21, 99]), [1.0, 0.5, 0.0, 0.0, 0.0]);
        assert!(optim(LearningRate::Linear, 10).check().is_err());
    }
}
