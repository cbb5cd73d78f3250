//! Predictor–corrector samplers (Song 2021, algorithm 1 and appendix G).

use crate::autodiff::Eager;
use crate::config::{CorrectorName, LangevinNorms, PredictorName, Sampling};
use crate::kernels::langevin::{self, Langevin};
use crate::kernels::random::{Distribution, fill};
use crate::kernels::sde_step::{self, Step};
use crate::kernels::{KernelError, Result};
use crate::nn::Scorer;
use crate::random::{Key, Purpose};
use crate::sde::{Sde, SdeKind};
use crate::tensor::{Shape, Tensor};

/// A predictor–corrector sampler for one process. At each of its times it makes `corrector_steps` steps of the
/// corrector and one of the predictor.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictorCorrector {
    /// The process, discretised into as many steps as are made.
    pub sde: Sde,
    /// The predictor.
    pub predictor: PredictorName,
    /// The corrector.
    pub corrector: CorrectorName,
    /// Corrector steps at each time.
    pub corrector_steps: u16,
    /// The corrector's target signal-to-noise ratio.
    pub snr: f64,
    /// Leave the noise of the last step out.
    pub noise_removal: bool,
    /// The predictor follows the probability flow.
    pub probability_flow: bool,
    /// Average the norms of the Langevin step over the batch.
    pub batch_norms: bool,
}

/// What a sampler shows after every step.
pub struct Progress<'a> {
    /// Steps made.
    pub step: usize,
    /// The state, `[n, h, w, c]` in the model's range.
    pub state: &'a Tensor,
}

impl PredictorCorrector {
    /// The sampler that a configuration describes, with `steps` steps.
    ///
    /// # Errors
    /// If there are fewer than two steps.
    pub fn new(sde: Sde, config: &Sampling, steps: usize) -> Result<Self> {
        if steps < 2 {
            let what = format!("{steps} steps; a sampler needs at least 2");
            return Err(KernelError::Mismatch { kernel: "sampling", what });
        }
        Ok(PredictorCorrector {
            sde: Sde { n: steps, ..sde },
            predictor: config.predictor,
            corrector: config.corrector,
            corrector_steps: if config.corrector == CorrectorName::None { 0 } else { config.n_steps_each },
            snr: config.snr,
            noise_removal: config.noise_removal,
            probability_flow: config.probability_flow,
            batch_norms: config.langevin_norms == LangevinNorms::Batch,
        })
    }

    /// Evaluations of the network for one sample.
    pub fn evaluations(&self) -> usize {
        let predictor = usize::from(self.predictor != PredictorName::None);
        self.sde.n * (predictor + usize::from(self.corrector_steps))
    }

    /// Draws the samples number `first ..` of a seed, as many as `shape` `[n, h, w, c]` says, in the model's range. A sample
    /// depends on its number alone, unless norms are averaged over the batch.
    ///
    /// # Errors
    /// If the device refuses, or `watch` fails.
    pub fn sample(
        &self,
        scorer: &Scorer,
        shape: Shape,
        seed: u64,
        first: u32,
        watch: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<Tensor> {
        let gpu = scorer.parameters.values.flat().gpu();
        let key = |purpose| Key::new(seed, purpose).from(first);
        let prior = Distribution::Normal { std: self.sde.prior_std() as f32 };
        let mut x = fill(gpu, shape, key(Purpose::Prior), prior)?;
        for (step, t) in self.times().enumerate() {
            let label = scorer.model.label(t);
            let conditioning = scorer.condition(&vec![label; shape.n()])?;
            let number = step as u32;
            for inner in 0..self.corrector_steps {
                let net = scorer.network(&mut Eager, &x, &conditioning, None)?;
                x = langevin::langevin(
                    &x,
                    &net,
                    self.correct(t, label.score_scale),
                    key(Purpose::Corrector(inner)).at(number),
                )?;
            }
            if let Some(mut update) = self.predict(t, label.score_scale) {
                if self.noise_removal && step + 1 == self.sde.n {
                    update.c = 0.0;
                }
                let net = scorer.network(&mut Eager, &x, &conditioning, None)?;
                x = sde_step::sde_step(&x, &net, update, key(Purpose::Predictor).at(number))?;
            }
            gpu.flush()?;
            watch(Progress { step: step + 1, state: &x })?;
        }
        Ok(x)
    }

    /// The times at which steps are made: from 1 down to the process's ε, both included.
    fn times(&self) -> impl Iterator<Item = f64> {
        let (eps, last) = (self.sde.sampling_eps(), (self.sde.n - 1) as f64);
        (0..self.sde.n).map(move |i| 1.0 + (eps - 1.0) * i as f64 / last)
    }

    fn correct(&self, t: f64, score_scale: f64) -> Langevin {
        let alpha = self.sde.corrector_alpha(t);
        Langevin { snr: self.snr, alpha, score_scale, batch_norms: self.batch_norms }
    }

    /// The predictor's step from `t` to the next time: factors of the state, of the network's output, and of noise.
    fn predict(&self, t: f64, score_scale: f64) -> Option<Step> {
        let step = match self.predictor {
            PredictorName::None => return None,
            PredictorName::EulerMaruyama => self.euler_maruyama(t),
            PredictorName::ReverseDiffusion => self.reverse_diffusion(t),
            PredictorName::AncestralSampling => self.ancestral(t),
        };
        Some(Step { b: step.b * score_scale, ..step })
    }

    /// Of the score, the flow takes half, and no noise (Song 2021, eq. 13).
    fn flow(&self, drift: f64, diffusion: f64) -> Step {
        let share = if self.probability_flow { 0.5 } else { 1.0 };
        let noise = if self.probability_flow { 0.0 } else { diffusion };
        Step { a: 1.0 - drift, b: share * diffusion * diffusion, c: noise }
    }

    /// Euler–Maruyama on the reverse-time SDE, dt = 1 / n.
    fn euler_maruyama(&self, t: f64) -> Step {
        let dt = 1.0 / self.sde.n as f64;
        self.flow(self.sde.drift(t) * dt, self.sde.diffusion(t) * dt.sqrt())
    }

    /// The forward discretisation reversed (Song 2021, eq. 46).
    fn reverse_diffusion(&self, t: f64) -> Step {
        let forward = self.sde.discretize(self.sde.index(t));
        self.flow(forward.drift, forward.diffusion)
    }

    /// Ancestral sampling: DDPM's for VP with the variance β (Ho 2020, algorithm 2), the posterior of the chain for VE
    /// (Song 2021, eq. 47) and, what the reference lacks, for sub-VP.
    fn ancestral(&self, t: f64) -> Step {
        let i = self.sde.index(t);
        if let SdeKind::Vp { .. } = self.sde.kind {
            let beta = self.sde.discrete_beta(i);
            let root = (1.0 - beta).sqrt();
            return Step { a: 1.0 / root, b: beta / root, c: beta.sqrt() };
        }
        // x at the time below, given x now and x₀ by Tweedie's formula: N(r v₋ / v x + m₋ v′ / v x₀, v₋ v′ / v) with
        // r = m / m₋ and v′ = v − r² v₋.
        let now = self.sde.marginal_prob(self.sde.time(i));
        let below = match (i, self.sde.kind) {
            (0, SdeKind::Ve { .. }) => crate::sde::Marginal { mean: 1.0, std: 0.0 },
            (0, _) => self.sde.marginal_prob(0.0),
            _ => self.sde.marginal_prob(self.sde.time(i - 1)),
        };
        let (v, below_v) = (now.std.powi(2).max(f64::MIN_POSITIVE), below.std.powi(2));
        let ratio = now.mean / below.mean;
        let between = (v - ratio * ratio * below_v).max(0.0);
        let of_x0 = below.mean * between / v / now.mean;
        Step { a: ratio * below_v / v + of_x0, b: of_x0 * v, c: (below_v * between / v).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [SdeKind; 3] = [
        SdeKind::Ve { sigma_min: 0.01, sigma_max: 10.0 },
        SdeKind::Vp { beta_min: 0.1, beta_max: 20.0 },
        SdeKind::SubVp { beta_min: 0.1, beta_max: 20.0 },
    ];

    fn sampler(kind: SdeKind, n: usize, predictor: PredictorName) -> PredictorCorrector {
        let config = Sampling { predictor, corrector: CorrectorName::None, ..Sampling::default() };
        PredictorCorrector::new(Sde { kind, n }, &config, n).unwrap()
    }

    /// For data N(μ, s²) the score at every time is known and every step is linear: mean and standard deviation of the
    /// samples follow exactly, with no noise to average over. They start at the process's own end: VE's prior leaves
    /// the data's mean out.
    fn moments(sampler: &PredictorCorrector, mu: f64, s: f64) -> (f64, f64) {
        let end = sampler.sde.marginal_prob(1.0);
        let (mut mean, mut variance) = (end.mean * mu, (end.mean * s).powi(2) + end.std.powi(2));
        for (i, t) in sampler.times().enumerate() {
            let m = sampler.sde.marginal_prob(t);
            let total = (m.mean * s).powi(2) + m.std.powi(2);
            // score = −(x − m μ) / total: a and b of the step make an affine map.
            let step = sampler.predict(t, 1.0).unwrap();
            let slope = step.a - step.b / total;
            mean = slope * mean + step.b * m.mean * mu / total;
            let noise = if i + 1 == sampler.sde.n { 0.0 } else { step.c };
            variance = slope * slope * variance + noise * noise;
        }
        (mean, variance.sqrt())
    }

    #[test]
    fn every_predictor_converges_to_a_gaussian_on_every_process() {
        for kind in KINDS {
            for predictor in [
                PredictorName::EulerMaruyama,
                PredictorName::ReverseDiffusion,
                PredictorName::AncestralSampling,
            ] {
                let error = |n| {
                    let (mean, std) = moments(&sampler(kind, n, predictor), 0.7, 0.3);
                    (mean - 0.7).abs().max((std - 0.3).abs())
                };
                // What is left in the limit is the process's own end, 1e-5 or 1e-3 away from the data.
                assert!(error(250) < 0.01, "{kind:?} {predictor:?}: {}", error(250));
                assert!(error(16_000) < 3e-4, "{kind:?} {predictor:?}: {}", error(16_000));
            }
        }
    }

    #[test]
    fn the_probability_flow_keeps_the_same_marginals_without_noise() {
        for kind in KINDS {
            for predictor in [PredictorName::EulerMaruyama, PredictorName::ReverseDiffusion] {
                let flow = PredictorCorrector { probability_flow: true, ..sampler(kind, 4000, predictor) };
                assert_eq!(flow.predict(0.5, 1.0).unwrap().c, 0.0);
                let (mean, std) = moments(&flow, 0.7, 0.3);
                assert!(
                    (mean - 0.7).abs() < 0.02 && (std - 0.3).abs() < 0.02,
                    "{kind:?} {predictor:?}: {mean} {std}"
                );
            }
        }
    }

    #[test]
    fn evaluations_are_counted() {
        let sde = Sde { kind: KINDS[0], n: 100 };
        let count = |predictor, corrector, n_steps_each| {
            let config = Sampling { predictor, corrector, n_steps_each, ..Sampling::default() };
            PredictorCorrector::new(sde, &config, 50).unwrap().evaluations()
        };
        assert_eq!(count(PredictorName::ReverseDiffusion, CorrectorName::Langevin, 2), 150);
        assert_eq!(count(PredictorName::ReverseDiffusion, CorrectorName::None, 2), 50);
        assert_eq!(count(PredictorName::None, CorrectorName::Langevin, 1), 50);
    }
}
