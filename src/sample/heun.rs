//! Heun's method on the probability flow dx̃/dσ = (x̃ − D) / σ in the coordinates x̃ = x / m, with noise added before a step
//! or without (Karras 2022, algorithms 1 and 2).

use super::grid::{denoiser, levels};
use super::score::{Counted, Score};
use super::{Draw, Progress, Sampled, Sampler, Watch};
use crate::config::{Sampling, Schedule};
use crate::kernels::{Result, sde_step::sde_step};
use crate::random::Purpose;
use crate::sde::{Level, Sde};
use crate::tensor::Tensor;

/// Heun's method for one process.
#[derive(Debug, Clone, PartialEq)]
pub struct Heun {
    sde: Sde,
    levels: Vec<Level>,
    churn: Churn,
}

/// The noise that is added before a step: EDM's S_churn, S_tmin, S_tmax and S_noise.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Churn {
    /// By which share σ grows: min(S_churn / steps, √2 − 1).
    gamma: f64,
    /// The least and the largest σ that grow.
    range: (f64, f64),
    /// The standard deviation of what is added.
    std: f64,
}

impl Heun {
    /// The method as a configuration describes it, with `steps` steps; deterministic or `stochastic`.
    ///
    /// # Errors
    /// If there are fewer than two steps, or the process has no noise level `sigma_min`.
    pub fn new(sde: Sde, config: &Sampling, steps: usize, stochastic: bool) -> Result<Self> {
        let s_churn = if stochastic { config.s_churn } else { 0.0 };
        let churn = Churn {
            gamma: (s_churn / steps as f64).min(2f64.sqrt() - 1.0),
            range: (config.s_tmin, config.s_tmax),
            std: config.s_noise,
        };
        let levels = levels(&sde, config.schedule.unwrap_or(Schedule::Edm), config, steps)?;
        Ok(Heun { sde, levels, churn })
    }

    /// The level that noise lifts a level to, never beyond the prior's, and the factor of the noise in x̃.
    fn churned(&self, level: Level) -> (Level, f64) {
        let (low, high) = self.churn.range;
        let sigma = (level.sigma * (1.0 + self.churn.gamma)).min(self.levels[0].sigma);
        if sigma <= level.sigma || !(low..=high).contains(&level.sigma) {
            return (level, 0.0);
        }
        let added = (sigma * sigma - level.sigma * level.sigma).sqrt();
        (self.sde.level_of(sigma), self.churn.std * added)
    }

    /// From states at `from` to states at `to`, or at the level that the next step's noise lifts them to.
    fn step(
        &self,
        score: &dyn Score,
        x: &Tensor,
        (from, to): (Level, Level),
        draw: Draw,
        number: u32,
    ) -> Result<(Tensor, Level)> {
        let n = x.shape().n();
        let network = |x: &Tensor, level: Level| score.network(x, &vec![score.label(level.t); n]);
        let d = denoiser(score, from);
        let net = network(x, from)?;
        // Euler: x̃′ = σ′ / σ x̃ + (1 − σ′ / σ) D.
        let ratio = to.sigma / from.sigma;
        let of_x = ratio / from.mean + (1.0 - ratio) * d.x;
        let euler = sde_step(&[(x, to.mean * of_x), (&net, to.mean * (1.0 - ratio) * d.net)], None)?;
        if to.sigma == 0.0 {
            return Ok((euler, to));
        }
        // Heun: x̃ + ½ (σ′ − σ) (slope + slope′), where x̃ + (σ′ − σ) slope is x̃′: ½ x̃ + ½ x̃′ + ½ (1 − σ / σ′) (x̃′ − D′).
        let d = denoiser(score, to);
        let half = 0.5 * (1.0 - 1.0 / ratio);
        let net = network(&euler, to)?;
        let (lifted, noise) = self.churned(to);
        let terms = [
            (x, 0.5 / from.mean),
            (&euler, 0.5 / to.mean + half * (1.0 / to.mean - d.x)),
            (&net, -half * d.net),
        ]
        .map(|(tensor, factor)| (tensor, lifted.mean * factor));
        let key = draw.key(Purpose::Predictor).at(number);
        Ok((sde_step(&terms, (noise != 0.0).then_some((lifted.mean * noise, key)))?, lifted))
    }
}

impl Sampler for Heun {
    fn steps(&self) -> Option<usize> {
        Some(self.levels.len() - 1)
    }

    fn run(&self, score: &dyn Score, mut x: Tensor, draw: Draw, watch: &mut Watch<'_>) -> Result<Sampled> {
        let score = &Counted::new(score);
        // The prior's own level is the highest there is: no noise is added to it.
        let mut level = self.levels[0];
        for (i, to) in self.levels[1..].iter().enumerate() {
            (x, level) = self.step(score, &x, (level, *to), draw, i as u32)?;
            score.gpu().flush()?;
            watch(Progress { step: i + 1, t: level.t, state: &x })?;
        }
        Ok(Sampled { x, evaluations: score.count() as f64, acceptance: None })
    }
}
