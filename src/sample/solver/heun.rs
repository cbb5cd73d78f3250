//! Heun's method on the probability flow dx̃/dσ = (x̃ − D) / σ in the coordinates x̃ = x / m, with noise added before a step
//! or without (Karras 2022, algorithms 1 and 2).

use super::driver::Driver;
use super::grid::Grid;
use crate::config::Sampling;
use crate::kernels::combine::Form;
use crate::random::Purpose;
use crate::sample::error::Result;
use crate::sample::{Draw, Evaluation, Sampled, Sampler, Score, Watch};
use crate::sde::{Level, Process};
use crate::tensor::Tensor;

/// Heun's method.
#[derive(Debug, Clone, PartialEq)]
pub struct Heun {
    /// The noise levels.
    pub grid: Grid,
    /// Noise added before a step; `None` for the deterministic method.
    pub churn: Option<Churn>,
}

/// The noise that is added before a step (Karras 2022, algorithm 2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Churn {
    /// S_churn: all steps together add about this share of σ; a step √2 − 1 of it, at most.
    pub s_churn: f64,
    /// S_tmin: the smallest σ at which noise is added.
    pub s_tmin: f64,
    /// S_tmax: the largest.
    pub s_tmax: f64,
    /// S_noise: the standard deviation of the noise.
    pub s_noise: f64,
}

impl Heun {
    /// The deterministic method that a configuration describes, with `steps` steps.
    ///
    /// # Errors
    /// If there are fewer than two steps.
    pub fn new(config: &Sampling, steps: usize) -> Result<Heun> {
        Ok(Heun { grid: Grid::new(config, steps)?, churn: None })
    }

    /// The stochastic method that a configuration describes, with `steps` steps.
    ///
    /// # Errors
    /// If there are fewer than two steps.
    pub fn stochastic(config: &Sampling, steps: usize) -> Result<Heun> {
        let Sampling { s_churn, s_tmin, s_tmax, s_noise, .. } = *config;
        Ok(Heun { churn: Some(Churn { s_churn, s_tmin, s_tmax, s_noise }), ..Heun::new(config, steps)? })
    }

    /// The level to which noise lifts `level`, at most the prior's, and the factor of the noise in x̃.
    fn churned(&self, process: &dyn Process, level: Level) -> (Level, f64) {
        let Some(churn) = self.churn else { return (level, 0.0) };
        let gamma = (churn.s_churn / self.grid.steps as f64).min(2f64.sqrt() - 1.0);
        let lifted = (level.sigma * (1.0 + gamma)).min(process.level(1.0).sigma);
        if lifted <= level.sigma || !(churn.s_tmin..=churn.s_tmax).contains(&level.sigma) {
            return (level, 0.0);
        }
        let added = (lifted * lifted - level.sigma * level.sigma).sqrt();
        (process.level_of(lifted), churn.s_noise * added)
    }
}

/// dx̃/dσ = (x̃ − D) / σ.
fn slope(at: &Evaluation, x: &Tensor, level: Level) -> Form {
    (x / level.mean - at.denoised()) / level.sigma
}

impl Sampler for Heun {
    fn steps(&self) -> Option<usize> {
        Some(self.grid.steps)
    }

    fn run(&self, score: &dyn Score, mut x: Tensor, draw: Draw, watch: &mut Watch<'_>) -> Result<Sampled> {
        let mut run = Driver::new(score, watch);
        let levels = self.grid.levels(score.process())?;
        // No noise is added at the prior's own level, the highest there is.
        let mut from = levels[0];
        for (i, &to) in levels[1..].iter().enumerate() {
            let h = to.sigma - from.sigma;
            let d = slope(&run.at(&x, &from.t.into())?, &x, from);
            let euler = ((&x / from.mean + &d * h) * to.mean).run()?;
            if to.sigma == 0.0 {
                (x, from) = (euler, to);
            } else {
                let d2 = slope(&run.at(&euler, &to.t.into())?, &euler, to);
                // The next step's noise is added in the same pass.
                let (lifted, noise) = self.churned(score.process(), to);
                let z = Form::normal(draw.key(Purpose::Predictor).at(i as u32));
                x = ((&x / from.mean + (d + d2) * (0.5 * h) + z * noise) * lifted.mean).run()?;
                from = lifted;
            }
            run.stepped(i + 1, from.t, &x)?;
        }
        Ok(run.sampled(x))
    }
}
