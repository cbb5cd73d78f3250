//! Correctors: Markov chain Monte Carlo at one time, towards its marginal distribution (Song 2021, algorithms 4 and 5).

use super::Draw;
use super::hamiltonian::Hamiltonian;
use super::score::Score;
use super::step::Step;
use crate::config::{CorrectorName, Over, Sampling};
use crate::kernels::Result;
use crate::kernels::langevin::{self, Langevin};
use crate::kernels::sde_step::sde_step;
use crate::random::{Key, Purpose};
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
    /// Leapfrog steps of a Hamiltonian trajectory.
    leapfrog: u16,
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
            leapfrog: config.hmc_leapfrog,
        }
    }

    /// Steps at each time.
    pub fn steps(&self) -> u16 {
        self.steps
    }

    /// Whether proposals may be rejected.
    pub fn rejects(&self) -> bool {
        self.steps > 0 && matches!(self.name, CorrectorName::Mala | CorrectorName::Hmc)
    }

    /// Inner step number `inner` at time `t`, which is the sampler's step number `number`, on states `[n, h, w, c]`. Where
    /// proposals may be rejected, those of each sample that are not are counted in `accepted` `[n]`.
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
        accepted: &Tensor,
    ) -> Result<Tensor> {
        let key = draw.key(Purpose::Corrector(inner)).at(number);
        let adjusted = |leapfrog: u16| {
            let uniform = Key { purpose: Purpose::Acceptance(inner), ..key };
            // A Langevin step of size ε is a leapfrog step of size √(2ε).
            let hamiltonian = Hamiltonian { step: (2.0 * self.step_size(t)).sqrt(), leapfrog };
            hamiltonian.run(score, &x, t, (key, uniform), accepted)
        };
        match self.name {
            CorrectorName::None => Ok(x),
            CorrectorName::Langevin => {
                let (g, score_scale) = direction(score, &x, t)?;
                let alpha = self.sde.corrector_alpha(t);
                let spec = Langevin { snr: self.snr, alpha, score_scale, batch_norms: self.batch_norms };
                langevin::langevin(&x, &g, spec, key)
            }
            CorrectorName::Ald => Step::langevin(self.step_size(t)).run(score, &x, t, Some(key)),
            CorrectorName::Mala => adjusted(1),
            CorrectorName::Hmc => adjusted(self.leapfrog),
        }
    }

    /// ε of a step whose size depends on the time alone: 2 α (snr · std)², what the signal-to-noise ratio asks for where the
    /// score is that of noise, of norm √d / std.
    fn step_size(&self, t: f64) -> f64 {
        2.0 * self.sde.corrector_alpha(t) * (self.snr * self.sde.marginal_prob(t).std).powi(2)
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
