//! Predictors: one step of a numerical solver of the reverse-time SDE (Song 2021, algorithm 1 and appendices E and F).

use super::runge_kutta::RungeKutta;
use super::score::Score;
use super::step::Step;
use super::{denoise, refuse};
use crate::config::{PredictorName, Sampling};
use crate::kernels::Result;
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

impl Predictor {
    /// The predictor that a configuration names; `sde` has as many steps as are made.
    ///
    /// # Errors
    /// If the predictor has no probability flow and is to follow it.
    pub fn new(sde: Sde, config: &Sampling) -> Result<Predictor> {
        let (name, probability_flow) = match config.predictor {
            PredictorName::ProbabilityFlow => (PredictorName::ReverseDiffusion, true),
            name => (name, config.probability_flow),
        };
        if name == PredictorName::AncestralSampling && probability_flow {
            let remedy = "name another predictor, or set sampling.probability_flow = false";
            return Err(refuse(format!("ancestral sampling cannot follow the probability flow; {remedy}")));
        }
        Ok(Predictor { sde, name, probability_flow })
    }

    /// The states `[n, h, w, c]` one step after time `t`; without noise if there is no key.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn run(&self, score: &dyn Score, x: Tensor, t: f64, key: Option<Key>) -> Result<Tensor> {
        match (self.name, self.taken(t, key.is_some())) {
            (_, Some(step)) => step.run(score, &x, t, key),
            (PredictorName::StochasticRungeKutta, None) => self.runge_kutta(score, x, t, key),
            (_, None) => Ok(x),
        }
    }

    /// [`Predictor::step`], or without noise the one that ends a run.
    pub(super) fn taken(&self, t: f64, noisy: bool) -> Option<Step> {
        if noisy { self.step(t) } else { self.noise_free(t) }
    }

    /// [`Predictor::step`] without noise. From ε a step of 1 / n goes past the data where there are few, and
    /// would leave noise of the other sign: no more is removed than Tweedie's formula finds there.
    fn noise_free(&self, t: f64) -> Option<Step> {
        let std = self.sde.marginal_prob(t).std;
        self.step(t).map(|step| Step { b: step.b.min(std * std), c: 0.0, ..step })
    }

    /// The step from `t` to the next time, of the predictors that make one at once.
    pub(super) fn step(&self, t: f64) -> Option<Step> {
        match self.name {
            PredictorName::None | PredictorName::StochasticRungeKutta => None,
            PredictorName::EulerMaruyama => Some(self.euler_maruyama(t)),
            PredictorName::ReverseDiffusion | PredictorName::ProbabilityFlow => {
                Some(self.reverse_diffusion(t))
            }
            PredictorName::AncestralSampling => Some(self.ancestral(t)),
        }
    }

    /// A Runge–Kutta step to the next time of the grid itself. Where there is none, what noise is left is removed by Tweedie's
    /// formula if there is no key.
    fn runge_kutta(&self, score: &dyn Score, x: Tensor, t: f64, key: Option<Key>) -> Result<Tensor> {
        match (self.sde.next_sampling_time(t), key) {
            (Some(next), _) => {
                RungeKutta::new(&self.sde, (t, next), self.probability_flow).run(score, &x, key)
            }
            (None, Some(_)) => Ok(x),
            (None, None) => denoise(score, &x, t),
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
        Predictor::new(Sde { kind, n }, &Sampling { predictor, ..Sampling::default() }).unwrap()
    }

    /// For data N(μ, s²) the score at every time is known and every step is linear: mean and standard deviation of the
    /// samples follow exactly, with no noise to average over. They start at the process's own end: VE's prior leaves
    /// the data's mean out. Without the noise of the last step if that `ends` them.
    fn moments(predictor: &Predictor, (mu, s): (f64, f64), ends: bool) -> (f64, f64) {
        let end = predictor.sde.marginal_prob(1.0);
        let (mut mean, mut variance) = (end.mean * mu, (end.mean * s).powi(2) + end.std.powi(2));
        for (i, t) in predictor.sde.sampling_times().enumerate() {
            let m = predictor.sde.marginal_prob(t);
            let total = (m.mean * s).powi(2) + m.std.powi(2);
            // score = −(x − m μ) / total: a and b of the step make an affine map.
            let last = i + 1 == predictor.sde.n;
            // Only a predictor that is none has no step.
            let step = predictor.taken(t, !(last && ends)).unwrap();
            let slope = step.a - step.b / total;
            mean = slope * mean + step.b * m.mean * mu / total;
            variance = slope * slope * variance + step.c * step.c;
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
                    let (mean, std) = moments(&self::predictor(kind, n, predictor), (0.7, 0.3), true);
                    (mean - 0.7).abs().max((std - 0.3).abs())
                };
                // What is left in the limit is the process's own end, 1e-5 or 1e-3 away from the data.
                assert!(error(250) < 0.01, "{kind:?} {predictor:?}: {}", error(250));
                assert!(error(16_000) < 3e-4, "{kind:?} {predictor:?}: {}", error(16_000));
            }
        }
    }

    #[test]
    fn every_predictor_converges_with_weak_order_one() {
        for kind in KINDS {
            for name in [
                PredictorName::EulerMaruyama,
                PredictorName::ReverseDiffusion,
                PredictorName::AncestralSampling,
                PredictorName::ProbabilityFlow,
            ] {
                // Differences between doublings leave out what no number of steps removes: the process's own end. More
                // than 1/ε steps would not each find an index of their own.
                let [a, b, c] =
                    [250, 500, 1000].map(|n| moments(&predictor(kind, n, name), (0.7, 0.3), false));
                let distance = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).hypot(a.1 - b.1);
                let order = (distance(a, b) / distance(b, c)).log2();
                assert!((order - 1.0).abs() < 0.1, "{kind:?} {name:?}: order {order}");
            }
        }
    }

    #[test]
    fn an_ancestral_step_leaves_the_variance_of_the_state_below_and_reverse_diffusion_more() {
        let kind = SdeKind::Ve { sigma_min: 0.01, sigma_max: 6.0 };
        let sde = Sde { kind, n: 60 };
        for i in 1..sde.n {
            let [now, below] = [i, i - 1].map(|i| sde.marginal_prob(sde.time(i)).std);
            // About a single point, where the score is −z / σ. Either predictor has a step.
            let ratio = |name| {
                let step = predictor(kind, sde.n, name).step(sde.time(i)).unwrap();
                ((step.a * now - step.b / now).powi(2) + step.c * step.c) / (below * below)
            };
            assert!((ratio(PredictorName::AncestralSampling) - 1.0).abs() < 1e-9);
            assert!((ratio(PredictorName::ReverseDiffusion) - 1.047).abs() < 1e-3);
        }
    }

    #[test]
    fn the_last_step_removes_no_more_noise_than_there_is() {
        for kind in KINDS {
            for name in [
                PredictorName::EulerMaruyama,
                PredictorName::ReverseDiffusion,
                PredictorName::AncestralSampling,
            ] {
                for n in [10, 100, 1000] {
                    // About a single point the score is −z / s, and what is left of z after the step is s − b / s.
                    let predictor = predictor(kind, n, name);
                    let t = predictor.sde.sampling_times().last().unwrap();
                    let (s, step) = (predictor.sde.marginal_prob(t).std, predictor.noise_free(t).unwrap());
                    let left = step.a - step.b / (s * s);
                    assert!(left > -1e-9, "{kind:?} {name:?}, {n} steps: {left} s");
                    assert_eq!(step.c, 0.0);
                }
            }
        }
    }

    #[test]
    fn the_probability_flow_keeps_the_same_marginals_without_noise() {
        for kind in KINDS {
            for predictor in [PredictorName::EulerMaruyama, PredictorName::ProbabilityFlow] {
                let flow = Predictor { probability_flow: true, ..self::predictor(kind, 4000, predictor) };
                assert_eq!(flow.step(0.5).unwrap().c, 0.0);
                let (mean, std) = moments(&flow, (0.7, 0.3), true);
                assert!(
                    (mean - 0.7).abs() < 0.02 && (std - 0.3).abs() < 0.02,
                    "{kind:?} {predictor:?}: {mean} {std}"
                );
            }
        }
    }

    #[test]
    fn ancestral_sampling_refuses_the_probability_flow() {
        let config = Sampling {
            predictor: PredictorName::AncestralSampling,
            probability_flow: true,
            ..Sampling::default()
        };
        let refused = Predictor::new(Sde { kind: KINDS[0], n: 10 }, &config).unwrap_err().to_string();
        assert!(refused.contains("cannot follow the probability flow"), "{refused}");
    }
}
