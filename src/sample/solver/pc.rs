//! Predictor–corrector samplers (Song 2021, algorithm 1 and appendix G).

use super::corrector::{Corrector, Moment, corrector};
use super::driver::{Driver, impose, stops};
use super::predictor::{Predictor, predictor};
use crate::config::Sampling;
use crate::random::Purpose;
use crate::sample::error::{Result, SampleError, refuse};
use crate::sample::{Constrained, Constraint, Draw, Sampled, Sampler, Score, Watch};
use crate::sde::{Chain, Marginal};
use crate::tensor::{Shape, Tensor};

/// A predictor–corrector sampler: at each time the corrector's steps, then one of the predictor's.
pub struct PredictorCorrector {
    /// The predictor, if there is one.
    pub predictor: Option<Box<dyn Predictor>>,
    /// The corrector and its steps at each time.
    pub corrector: Option<(Box<dyn Corrector>, u16)>,
    /// Steps, at least 2.
    pub steps: usize,
    /// Leave the noise of the last step out.
    pub noise_removal: bool,
}

impl PredictorCorrector {
    /// The sampler that a configuration describes, with `steps` steps.
    ///
    /// # Errors
    /// If there are fewer than two steps, neither a predictor nor a corrector, or settings contradict each other.
    pub fn new(config: &Sampling, steps: usize) -> Result<Self> {
        config.check()?;
        let (predictor, corrector) = (predictor(config), corrector(config));
        let sampler = PredictorCorrector { predictor, corrector, steps, noise_removal: config.noise_removal };
        sampler.check()?;
        Ok(sampler)
    }

    fn check(&self) -> Result<()> {
        if self.steps < 2 {
            return Err(SampleError::TooFewSteps { steps: self.steps, least: 2 });
        }
        if self.predictor.is_none() && self.corrector.is_none() {
            return Err(refuse("a sampler needs a predictor or a corrector; name one"));
        }
        Ok(())
    }

    /// All of the corrector's steps at a time, `moved` after each.
    pub(super) fn correct(
        &self,
        at: &Moment<'_>,
        mut x: Tensor,
        moved: &dyn Fn(Tensor, u16) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if let Some((corrector, steps)) = &self.corrector {
            for inner in 0..*steps {
                x = moved(corrector.step(&at.inner(inner), x)?, inner)?;
            }
        }
        Ok(x)
    }

    /// The share of the corrector's proposals that were accepted, given how many of each sample `[n]`, if it rejects any.
    pub(super) fn acceptance(&self, accepted: &Tensor) -> Result<Option<f64>> {
        let Some((_, steps)) = self.corrector.as_ref().filter(|(corrector, _)| corrector.rejects()) else {
            return Ok(None);
        };
        let proposals = accepted.shape().len() * self.steps * usize::from(*steps);
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
        self.check()?;
        let mut run = Driver::new(score, watch);
        let (process, chain) = (score.process(), Chain::new(score.process(), self.steps));
        let accepted = Tensor::zeros(score.gpu(), Shape::vector(x.shape().n()))?;
        for stop in stops(&chain.sampling_times()) {
            let impose = |x: Tensor, at: Marginal, part: u16| {
                impose(constraint, x, at, draw.key(Purpose::Constraint(part)).at(stop.number()))
            };
            let at = Moment::new(&run, chain, stop.t, draw, stop.number(), &accepted);
            x = self.correct(&at, x, &|x, inner| impose(x, process.marginal_prob(stop.t), 1 + inner))?;
            if let Some(predictor) = &self.predictor {
                let noisy = stop.next.is_some() || !self.noise_removal;
                let key = noisy.then_some(draw.key(Purpose::Predictor).at(stop.number()));
                x = predictor.step(&run, x, &chain, stop.t, key)?;
            }
            // The predictor has left t: the state is at the next time, and in the end the data.
            let next = stop.next.map_or(Marginal::DATA, |next| process.marginal_prob(next));
            x = impose(x, next, 0)?;
            run.stepped(stop.step + 1, stop.after(), &x)?;
        }
        Ok(Sampled { acceptance: self.acceptance(&accepted)?, ..run.sampled(x) })
    }
}

impl Sampler for PredictorCorrector {
    fn steps(&self) -> Option<usize> {
        Some(self.steps)
    }

    fn run(&self, score: &dyn Score, x: Tensor, draw: Draw, watch: &mut Watch<'_>) -> Result<Sampled> {
        self.run_under(None, score, x, draw, watch)
    }
}
