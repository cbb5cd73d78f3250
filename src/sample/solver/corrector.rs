//! Correctors: Markov chain Monte Carlo at one time, towards its marginal distribution (Song 2021, algorithms 4 and 5).

use super::hamiltonian::HamiltonianMonteCarlo;
use crate::config::{CorrectorName, Over, Sampling};
use crate::kernels::combine::Form;
use crate::kernels::langevin::{self, Langevin};
use crate::random::{Key, Purpose};
use crate::sample::error::Result;
use crate::sample::{Draw, Score};
use crate::sde::Chain;
use crate::tensor::Tensor;

/// A step of a sampler, as its corrector sees it.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The score.
    pub score: &'a dyn Score,
    /// The process, cut into the sampler's steps.
    pub chain: Chain<'a>,
    /// The time.
    pub t: f64,
    /// The key of the corrector's noise.
    pub key: Key,
    /// The key of the uniform numbers by which proposals are accepted.
    pub acceptance: Key,
    /// `[n]`: counts the accepted proposals of each sample, for a corrector that rejects any.
    pub accepted: &'a Tensor,
}

impl<'a> Moment<'a> {
    pub(super) fn new(
        score: &'a dyn Score,
        chain: Chain<'a>,
        t: f64,
        draw: Draw,
        number: u32,
        accepted: &'a Tensor,
    ) -> Moment<'a> {
        let key = |purpose| draw.key(purpose).at(number);
        let (key, acceptance) = (key(Purpose::Corrector(0)), key(Purpose::Acceptance(0)));
        Moment { score, chain, t, key, acceptance, accepted }
    }

    /// The same for inner step number `inner`.
    pub(super) fn inner(self, inner: u16) -> Moment<'a> {
        let key = Key { purpose: Purpose::Corrector(inner), ..self.key };
        let acceptance = Key { purpose: Purpose::Acceptance(inner), ..self.acceptance };
        Moment { key, acceptance, ..self }
    }
}

/// A corrector: one step at a time that leaves the marginal distribution there as it is.
pub trait Corrector {
    /// The states `x` `[n, h, w, c]` after a step.
    ///
    /// # Errors
    /// Any error of the score.
    fn step(&self, at: &Moment<'_>, x: Tensor) -> Result<Tensor>;

    /// Whether it rejects proposals, and counts those it accepts.
    fn rejects(&self) -> bool {
        false
    }
}

/// The corrector that a configuration names with its steps at each time; `None` if it names none.
pub(super) fn corrector(config: &Sampling) -> Option<(Box<dyn Corrector>, u16)> {
    let snr = config.snr;
    let corrector: Box<dyn Corrector> = match config.corrector {
        CorrectorName::None => return None,
        CorrectorName::Langevin => {
            Box::new(LangevinSnr { snr, batch_norms: config.langevin_norms == Over::Batch })
        }
        CorrectorName::Ald => Box::new(LangevinAnnealed { snr }),
        CorrectorName::Mala => Box::new(HamiltonianMonteCarlo { snr, leapfrog: 1 }),
        CorrectorName::Hmc => Box::new(HamiltonianMonteCarlo { snr, leapfrog: config.hmc_leapfrog }),
    };
    (config.n_steps_each > 0).then_some((corrector, config.n_steps_each))
}

/// Langevin dynamics whose step follows from the norms of score and noise: ε = 2 α (snr ‖z‖ / ‖score‖)².
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LangevinSnr {
    /// The target signal-to-noise ratio.
    pub snr: f64,
    /// Average the norms over the batch, as the reference does.
    pub batch_norms: bool,
}

impl Corrector for LangevinSnr {
    fn step(&self, at: &Moment<'_>, x: Tensor) -> Result<Tensor> {
        let (g, score_scale) = at.score.at(&x, &at.t.into())?.score().multiple()?;
        let alpha = at.chain.corrector_alpha(at.t);
        let spec = Langevin { snr: self.snr, alpha, score_scale, batch_norms: self.batch_norms };
        Ok(langevin::langevin(&x, &g, spec, at.key)?)
    }
}

/// Langevin dynamics whose step follows from the time alone, as in annealed Langevin dynamics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LangevinAnnealed {
    /// The target signal-to-noise ratio.
    pub snr: f64,
}

impl Corrector for LangevinAnnealed {
    fn step(&self, at: &Moment<'_>, x: Tensor) -> Result<Tensor> {
        langevin_step(at.score, &x, at.t, step_size(at, self.snr), at.key)
    }
}

/// A step of Langevin dynamics of size ε: x + ε score + √(2ε) z.
pub(super) fn langevin_step(score: &dyn Score, x: &Tensor, t: f64, eps: f64, key: Key) -> Result<Tensor> {
    let at = score.at(x, &t.into())?;
    Ok((x + at.score() * eps + Form::normal(key) * (2.0 * eps).sqrt()).run()?)
}

/// ε = 2 α (snr · std)²: the Langevin step for a score that is that of noise, of norm √d / std.
pub(super) fn step_size(at: &Moment<'_>, snr: f64) -> f64 {
    let std = at.chain.process().marginal_prob(at.t).std;
    2.0 * at.chain.corrector_alpha(at.t) * (snr * std).powi(2)
}
