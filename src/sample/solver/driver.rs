//! A sampler's loop: what every one of them does besides its mathematics.

use crate::gpu::Gpu;
use crate::random::Key;
use crate::sample::error::Result;
use crate::sample::{Constraint, Evaluation, Progress, Sampled, Score, Times, Watch};
use crate::sde::{Marginal, Process};
use crate::tensor::Tensor;
use std::cell::Cell;

/// A run of a sampler: the score with its evaluations counted, and the callback.
pub struct Driver<'a, 'w> {
    score: &'a dyn Score,
    evaluations: Cell<usize>,
    watch: &'a mut Watch<'w>,
}

impl<'a, 'w> Driver<'a, 'w> {
    /// A run that has not evaluated the score yet.
    pub fn new(score: &'a dyn Score, watch: &'a mut Watch<'w>) -> Driver<'a, 'w> {
        Driver { score, evaluations: Cell::new(0), watch }
    }

    /// Ends a step: submits its work, and shows the state `[n, h, w, c]` at its time `t`, after `step` steps.
    ///
    /// # Errors
    /// Errors that the device reported, and those of the watch.
    pub fn stepped(&mut self, step: usize, t: f64, state: &Tensor) -> Result<()> {
        self.gpu().flush()?;
        (self.watch)(Progress { step, t, state })
    }

    /// The result of the run, whose evaluations were the same for all samples.
    pub fn sampled(&self, x: Tensor) -> Sampled {
        Sampled::new(x, self.evaluations.get() as f64)
    }
}

impl Score for Driver<'_, '_> {
    fn gpu(&self) -> &Gpu {
        self.score.gpu()
    }

    fn process(&self) -> &dyn Process {
        self.score.process()
    }

    fn at(&self, x: &Tensor, t: &Times) -> Result<Evaluation> {
        self.evaluations.set(self.evaluations.get() + 1);
        self.score.at(x, t)
    }
}

/// The state under a constraint, if there is one, perturbed to a marginal with noise of `key`.
pub(super) fn impose(
    constraint: Option<&dyn Constraint>,
    x: Tensor,
    at: Marginal,
    key: Key,
) -> Result<Tensor> {
    match constraint {
        Some(constraint) => constraint.impose(x, at, key),
        None => Ok(x),
    }
}

/// A time of a sampler's grid.
pub(super) struct Stop {
    /// Its number, from 0.
    pub step: usize,
    /// The time.
    pub t: f64,
    /// The time after it; none at the last.
    pub next: Option<f64>,
}

impl Stop {
    /// The time of the state after the step.
    pub(super) fn after(&self) -> f64 {
        self.next.unwrap_or(self.t)
    }

    /// The number as random keys count it.
    pub(super) fn number(&self) -> u32 {
        self.step as u32
    }
}

/// The times of a grid in their order.
pub(super) fn stops(times: &[f64]) -> impl Iterator<Item = Stop> {
    times.iter().enumerate().map(|(step, t)| Stop { step, t: *t, next: times.get(step + 1).copied() })
}
