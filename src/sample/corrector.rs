//! Correctors: Markov chain Monte Carlo at one time, towards its marginal distribution (Song 2021, algorithms 4 and 5).

use super::score::Score;
use super::{Draw, refuse};
use crate::config::{CorrectorName, Over, Sampling};
use crate::kernels::Result;
use crate::kernels::langevin::{self, Langevin};
use crate::kernels::sde_step::sde_step;
use crate::random::Purpose;
use crate::sde::Sde;
use crate::tensor::Tensor;

/// A corrector of one process, discretised into as many steps as are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Corrector {
    sde: Sde,
    name: CorrectorName,
    /// Steps at each time.
    steps: u16,
    /// The target signal-to-noise ratio.
    snr: f64,
    /// Average the norms of the Langevin step over the batch.
    batch_norms: bool,
}

impl Corrector {
    /// The corrector that a configuration names; `sde` has as many steps as are made.
    pub fn new(sde: Sde, config: &Sampling) -> Corrector {
        Corrector {
            sde,
            name: config.corrector,
            steps: if config.corrector == CorrectorName::None { 0 } else { config.n_steps_each },
            snr: config.snr,
            batch_norms: config.langevin_norms == Over::Batch,
        }
    }

    /// Steps at each time.
    pub fn steps(&self) -> u16 {
        self.steps
    }

    /// Inner step number `inner` at time `t`, which is the sampler's step number `number`, on states `[n, h, w, c]`.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn run(
        &self,
        score: &dyn Score,
        x: Tensor,
        t: f64,
        draw: Draw,
        (number, inner): (u32, u16),
    ) -> Result<Tensor> {
        let key = draw.key(Purpose::Corrector(inner)).at(number);
        match self.name {
            CorrectorName::None => Ok(x),
            CorrectorName::Ald => Err(refuse(
                "annealed Langevin dynamics (ald) is not implemented yet; choose --corrector langevin with --predictor \
                 reverse_diffusion",
            )),
            CorrectorName::Langevin => {
                let (g, score_scale) = direction(score, &x, t)?;
                let alpha = self.sde.corrector_alpha(t);
                let spec = Langevin { snr: self.snr, alpha, score_scale, batch_norms: self.batch_norms };
                langevin::langevin(&x, &g, spec, key)
            }
        }
    }
}

/// The score at `x` as a tensor and a factor: the network's output itself where it is the score up to a factor.
fn direction(score: &dyn Score, x: &Tensor, t: f64) -> Result<(Tensor, f64)> {
    let label = score.label(t);
    let net = score.network(x, &vec![label; x.shape().n()])?;
    match label.score.x {
        0.0 => Ok((net, label.score.net)),
        of_x => Ok((sde_step(&[(x, of_x), (&net, label.score.net)], None)?, 1.0)),
    }
}
