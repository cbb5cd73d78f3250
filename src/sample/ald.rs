//! Annealed Langevin dynamics (Song and Ermon 2019, algorithm 1, in the form of Song and Ermon 2020).

use super::score::{Counted, Score};
use super::step::Step;
use super::{Constrained, Constraint, Draw, Progress, Sampled, Sampler, Watch, denoise, refuse};
use crate::config::Sampling;
use crate::kernels::Result;
use crate::random::Purpose;
use crate::sde::langevin_eps;
use crate::sde::{Marginal, Sde, SdeKind};
use crate::tensor::Tensor;

/// Annealed Langevin dynamics on a geometric ladder of noise levels: at each level σ, T steps x + α score + √(2α) z with
/// α = ε σ² / σ_min².
#[derive(Debug, Clone, PartialEq)]
pub struct AnnealedLangevin {
    sde: Sde,
    /// T, steps at each level.
    steps: u16,
    /// ε / σ_min².
    relative_eps: f64,
    /// End with the mean of the data given the last state.
    noise_removal: bool,
}

impl AnnealedLangevin {
    /// The sampler that a configuration describes, with `levels` levels of the process.
    ///
    /// # Errors
    /// If the process does not explode the variance, or if there are fewer than two levels or no step at a level.
    pub fn new(sde: Sde, config: &Sampling, levels: usize) -> Result<Self> {
        let SdeKind::Ve { sigma_min, sigma_max } = sde.kind else {
            let remedy = "take the sampler pc with the corrector ald instead";
            return Err(refuse(format!("annealed Langevin dynamics runs on a VE process alone; {remedy}")));
        };
        if levels < 2 {
            return Err(refuse(format!("{levels} levels; annealed Langevin dynamics needs at least 2")));
        }
        if config.n_steps_each == 0 {
            return Err(refuse("0 steps at each level; annealed Langevin dynamics needs at least 1"));
        }
        let gamma = (sigma_max / sigma_min).powf(1.0 / (levels - 1) as f64);
        let eps = match config.ald_eps {
            0.0 => langevin_eps(gamma, config.n_steps_each.into(), sigma_min),
            eps => eps,
        };
        let sde = Sde { n: levels, ..sde };
        Ok(AnnealedLangevin {
            sde,
            steps: config.n_steps_each,
            relative_eps: eps / sigma_min.powi(2),
            noise_removal: config.noise_removal,
        })
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
        let score = &Counted::new(score);
        let times: Vec<f64> = self.sde.sampling_times().collect();
        for (level, &t) in times.iter().enumerate() {
            let number = level as u32;
            let impose = |x: Tensor, at: Marginal| match constraint {
                Some(constraint) => constraint.impose(x, at, draw.key(Purpose::Constraint(0)).at(number)),
                None => Ok(x),
            };
            let marginal = self.sde.marginal_prob(t);
            let step = Step::langevin(self.relative_eps * marginal.std.powi(2));
            for inner in 0..self.steps {
                let key = draw.key(Purpose::Corrector(inner)).at(number);
                x = impose(step.run(score, &x, t, Some(key))?, marginal)?;
            }
            if level + 1 == times.len() && self.noise_removal {
                x = impose(denoise(score, &x, t)?, Marginal { mean: 1.0, std: 0.0 })?;
            }
            score.gpu().flush()?;
            watch(Progress { step: level + 1, t: *times.get(level + 1).unwrap_or(&t), state: &x })?;
        }
        Ok(Sampled { x, evaluations: score.count() as f64, acceptance: None })
    }
}

impl Sampler for AnnealedLangevin {
    fn steps(&self) -> Option<usize> {
        Some(self.sde.n)
    }

    fn run(&self, score: &dyn Score, x: Tensor, draw: Draw, watch: &mut Watch<'_>) -> Result<Sampled> {
        self.run_under(None, score, x, draw, watch)
    }
}
