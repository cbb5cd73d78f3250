//! Annealed Langevin dynamics (Song and Ermon 2019, algorithm 1, in the form of Song and Ermon 2020).

use super::corrector::langevin_step;
use super::driver::{Driver, impose, stops};
use crate::config::Sampling;
use crate::random::Purpose;
use crate::sample::error::{Result, SampleError, refuse};
use crate::sample::{Constrained, Constraint, Draw, Sampled, Sampler, Score, Watch, denoise};
use crate::sde::{Chain, Marginal, Process, langevin_eps};
use crate::tensor::Tensor;

/// Annealed Langevin dynamics on a geometric ladder of noise levels: at each level σ, T steps x + α score + √(2α) z with
/// α = ε σ² / σ_min². For processes that leave the data unscaled, m = 1.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnealedLangevin {
    /// Noise levels, at least 2.
    pub levels: usize,
    /// T, steps at each level.
    pub steps: u16,
    /// ε; `None` for the one that keeps the variance best (Song and Ermon 2020, technique 4).
    pub eps: Option<f64>,
    /// End with the mean of the data given the last state.
    pub noise_removal: bool,
}

impl AnnealedLangevin {
    /// The sampler that a configuration describes, with `levels` levels.
    ///
    /// # Errors
    /// If there are fewer than two levels or no step at a level.
    pub fn new(config: &Sampling, levels: usize) -> Result<Self> {
        let (steps, noise_removal) = (config.n_steps_each, config.noise_removal);
        let eps = Some(config.ald_eps).filter(|eps| *eps > 0.0);
        let sampler = AnnealedLangevin { levels, steps, eps, noise_removal };
        sampler.check()?;
        Ok(sampler)
    }

    fn check(&self) -> Result<()> {
        if self.levels < 2 {
            return Err(SampleError::TooFewSteps { steps: self.levels, least: 2 });
        }
        if self.steps == 0 {
            return Err(refuse("0 steps at each level; annealed Langevin dynamics needs at least 1"));
        }
        Ok(())
    }

    /// ε / σ_min² on a process.
    fn relative_eps(&self, process: &dyn Process) -> Result<f64> {
        self.check()?;
        if process.log_mean(1.0) != 0.0 {
            let remedy = "take the sampler pc with the corrector ald instead";
            return Err(refuse(format!("annealed Langevin dynamics runs on a VE process alone; {remedy}")));
        }
        let (sigma_min, sigma_max) = (process.marginal_prob(0.0).std, process.prior_std());
        let gamma = (sigma_max / sigma_min).powf(1.0 / (self.levels - 1) as f64);
        let eps = self.eps.unwrap_or_else(|| langevin_eps(gamma, self.steps.into(), sigma_min));
        Ok(eps / sigma_min.powi(2))
    }
}

/// Inpainting where pixels are known (Song and Ermon 2019, algorithm 3): their noise is drawn once for each level.
impl Constrained for AnnealedLangevin {
    fn run_under(
        &self,
        constraint: Option<&dyn Constraint>,
        score: &dyn Score,
        mut x: Tensor,
        draw: Draw,
        watch: &mut Watch<'_>,
    ) -> Result<Sampled> {
        let process = score.process();
        let relative_eps = self.relative_eps(process)?;
        let mut run = Driver::new(score, watch);
        for level in stops(&Chain::new(process, self.levels).sampling_times()) {
            let key = draw.key(Purpose::Constraint(0)).at(level.number());
            let impose = |x: Tensor, at: Marginal| impose(constraint, x, at, key);
            let marginal = process.marginal_prob(level.t);
            let alpha = relative_eps * marginal.std.powi(2);
            for inner in 0..self.steps {
                let key = draw.key(Purpose::Corrector(inner)).at(level.number());
                x = impose(langevin_step(&run, &x, level.t, alpha, key)?, marginal)?;
            }
            if level.next.is_none() && self.noise_removal {
                x = impose(denoise(&run, &x, level.t)?, Marginal::DATA)?;
            }
            run.stepped(level.step + 1, level.after(), &x)?;
        }
        Ok(run.sampled(x))
    }
}

impl Sampler for AnnealedLangevin {
    fn steps(&self) -> Option<usize> {
        Some(self.levels)
    }

    fn run(&self, score: &dyn Score, x: Tensor, draw: Draw, watch: &mut Watch<'_>) -> Result<Sampled> {
        self.run_under(None, score, x, draw, watch)
    }
}
