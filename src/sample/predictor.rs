//! Predictors: one step of a numerical solver of the reverse-time SDE (Song 2021, algorithm 1 and appendices E and F).

use super::score::Score;
use crate::config::{PredictorName, Sampling};
use crate::kernels::{Result, sde_step::sde_step};
use crate::random::Key;
use crate::sde::{Marginal, Sde, SdeKind};
use crate::tensor::Tensor;

/// A predictor of one process, discretised into as many steps as are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predictor {
    sde: Sde,
    name: PredictorName,
    /// Follow the probability flow instead of the reverse-time SDE.
    probability_flow: bool,
}

/// A step that is linear in the state, the score and the noise: a x + b score + c z.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    a: f64,
    b: f64,
    c: f64,
}

impl Predictor {
    /// The predictor that a configuration names; `sde` has as many steps as are made.
    pub fn new(sde: Sde, config: &Sampling) -> Predictor {
        Predictor { sde, name: config.predictor, probability_flow: config.probability_flow }
    }

    /// The states `[n, h, w, c]` one step after time `t`; without noise if there is no key.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn run(&self, score: &dyn Score, x: Tensor, t: f64, key: Option<Key>) -> Result<Tensor> {
        let Some(Step { a, b, c }) = self.step(t) else { return Ok(x) };
        let label = score.label(t);
        let net = score.network(&x, &vec![label; x.shape().n()])?;
        let noise = key.map(|key| (c, key)).filter(|(c, _)| *c != 0.0);
        sde_step(&[(&x, a + b * label.score.x), (&net, b * label.score.net)], noise)
    }

    /// The step from `t` to the next time; none without a predictor.
    fn step(&self, t: f64) -> Option<Step> {
        match self.name {
            PredictorName::None => None,
            PredictorName::EulerMaruyama => Some(self.euler_maruyama(t)),
            PredictorName::ReverseDiffusion => Some(self.reverse_diffusion(t)),
            PredictorName::AncestralSampling => Some(self.ancestral(t)),
        }
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
            (0, SdeKind::Ve { .. }) => Marginal { mean: 1.0, std: 0.0 },
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

    fn predictor(kind: SdeKind, n: usize, predictor: PredictorName) -> Predictor {
        Predictor::new(Sde { kind, n }, &Sampling { predictor, ..Sampling::default() })
    }

    /// For data N(μ, s²) the score at every time is known and every step is linear: mean and standard deviation of the
    /// samples follow exactly, with no noise to average over. They start at the process's own end: VE's prior leaves
    /// the data's mean out.
    fn moments(predictor: &Predictor, mu: f64, s: f64) -> (f64, f64) {
        let end = predictor.sde.marginal_prob(1.0);
        let (mut mean, mut variance) = (end.mean * mu, (end.mean * s).powi(2) + end.std.powi(2));
        for (i, t) in predictor.sde.sampling_times().enumerate() {
            let m = predictor.sde.marginal_prob(t);
            let total = (m.mean * s).powi(2) + m.std.powi(2);
            // score = −(x − m μ) / total: a and b of the step make an affine map.
            let step = predictor.step(t).unwrap();
            let slope = step.a - step.b / total;
            mean = slope * mean + step.b * m.mean * mu / total;
            let noise = if i + 1 == predictor.sde.n { 0.0 } else { step.c };
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
                    let (mean, std) = moments(&self::predictor(kind, n, predictor), 0.7, 0.3);
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
                let flow = Predictor { probability_flow: true, ..self::predictor(kind, 4000, predictor) };
                assert_eq!(flow.step(0.5).unwrap().c, 0.0);
                let (mean, std) = moments(&flow, 0.7, 0.3);
                assert!(
                    (mean - 0.7).abs() < 0.02 && (std - 0.3).abs() < 0.02,
                    "{kind:?} {predictor:?}: {mean} {std}"
                );
            }
        }
    }
}
