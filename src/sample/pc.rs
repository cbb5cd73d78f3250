//! Predictor–corrector samplers (Song 2021, algorithm 1 and appendix G).

use super::corrector::Corrector;
use super::predictor::Predictor;
use super::score::{Counted, Score};
use super::{Constrained, Constraint, Draw, Progress, Sampled, Sampler, Watch, refuse};
use crate::config::{PredictorName, Sampling};
use crate::kernels::Result;
use crate::random::Purpose;
use crate::sde::{Marginal, Sde};
use crate::tensor::{Shape, Tensor};

/// A predictor–corrector sampler for one process. At each of its times it makes the corrector's steps and then one of the
/// predictor's.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictorCorrector {
    pub(super) sde: Sde,
    pub(super) predictor: Predictor,
    pub(super) corrector: Corrector,
    /// Leave the noise of the last step out.
    pub(super) noise_removal: bool,
}

impl PredictorCorrector {
    /// The sampler that a configuration describes, with `steps` steps.
    ///
    /// # Errors
    /// If there are fewer than two steps, or neither a predictor nor a corrector.
    pub fn new(sde: Sde, config: &Sampling, steps: usize) -> Result<Self> {
        if steps < 2 {
            return Err(refuse(format!("{steps} steps; a sampler needs at least 2")));
        }
        let sde = Sde { n: steps, ..sde };
        let (predictor, corrector) = (Predictor::new(sde, config)?, Corrector::new(sde, config));
        if config.predictor == PredictorName::None && corrector.steps() == 0 {
            return Err(refuse("without a predictor and without a corrector nothing is sampled; name one"));
        }
        Ok(PredictorCorrector { sde, predictor, corrector, noise_removal: config.noise_removal })
    }

    /// The share of the corrector's proposals that were accepted, given how many of each sample `[n]`, if any could be
    /// rejected.
    pub(super) fn acceptance(&self, accepted: &Tensor) -> Result<Option<f64>> {
        if !self.corrector.rejects() {
            return Ok(None);
        }
        let proposals = accepted.shape().len() * self.sde.n * usize::from(self.corrector.steps());
        Ok(Some(accepted.read()?.iter().map(|v| f64::from(*v)).sum::<f64>() / proposals as f64))
    }
}

impl Constrained for PredictorCorrector {
    fn run_under(
        &self,
        constraint: Option<&dyn Constraint>,
        score: &dyn Score,
        mut x: Tensor,
        draw: Draw,
        watch: &mut Watch<'_>,
    ) -> Result<Sampled> {
        let score = &Counted::new(score);
        let accepted = Tensor::zeros(score.gpu(), Shape::vector(x.shape().n()))?;
        let times: Vec<f64> = self.sde.sampling_times().collect();
        for (step, &t) in times.iter().enumerate() {
            let number = step as u32;
            let impose = |x: Tensor, at: Marginal, part: u16| match constraint {
                Some(constraint) => constraint.impose(x, at, draw.key(Purpose::Constraint(part)).at(number)),
                None => Ok(x),
            };
            for inner in 0..self.corrector.steps() {
                x = self.corrector.run(score, x, t, draw, (number, inner), &accepted)?;
                x = impose(x, self.sde.marginal_prob(t), 1 + inner)?;
            }
            let last = step + 1 == times.len();
            let key = draw.key(Purpose::Predictor).at(number);
            x = self.predictor.run(score, x, t, (!(last && self.noise_removal)).then_some(key))?;
            // The predictor has left t: what the state has got to is the next time, and the data in the end.
            let next = times.get(step + 1).map(|next| self.sde.marginal_prob(*next));
            x = impose(x, next.unwrap_or(Marginal { mean: 1.0, std: 0.0 }), 0)?;
            score.gpu().flush()?;
            watch(Progress { step: step + 1, t: *times.get(step + 1).unwrap_or(&t), state: &x })?;
        }
        Ok(Sampled { x, evaluations: score.count() as f64, acceptance: self.acceptance(&accepted)? })
    }
}

impl Sampler for PredictorCorrector {
    fn steps(&self) -> Option<usize> {
        Some(self.sde.n)
    }

    fn run(&self, score: &dyn Score, x: Tensor, draw: Draw, watch: &mut Watch<'_>) -> Result<Sampled> {
        self.run_under(None, score, x, draw, watch)
    }
}
