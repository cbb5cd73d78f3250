//! Predictors: one step of a numerical solver of the reverse-time SDE (Song 2021, algorithm 1 and appendices E and F).

use super::sra1::Sra1;
use crate::config::{PredictorName, Sampling};
use crate::kernels::combine::Form;
use crate::random::Key;
use crate::sample::error::Result;
use crate::sample::{Evaluation, Score};
use crate::sde::{Chain, PosteriorVariance, Transition};
use crate::tensor::Tensor;

/// A predictor: the step from a time of a chain to the next.
///
/// One that evaluates the score once and is linear in state, score and noise states its [`transition`](Predictor::transition);
/// any other overrides [`step`](Predictor::step).
pub trait Predictor {
    /// The step from `t` of a chain with as many steps as the sampler makes; `None` if it is not of this form.
    fn transition(&self, chain: &Chain<'_>, t: f64) -> Option<Transition>;

    /// The score that a step follows, at states `x` `[n, h, w, c]` and time `t`.
    ///
    /// # Errors
    /// Any error of the score.
    fn at(&self, score: &dyn Score, x: &Tensor, t: f64) -> Result<Evaluation> {
        score.at(x, &t.into())
    }

    /// The states `x` `[n, h, w, c]` one step after time `t`, with noise of `key`. The last step of a run has none, and then
    /// removes no more noise than there is: from ε a step of 1 / n would go past the data where n is small.
    ///
    /// # Errors
    /// Any error of the score.
    fn step(
        &self,
        score: &dyn Score,
        x: Tensor,
        chain: &Chain<'_>,
        t: f64,
        key: Option<Key>,
    ) -> Result<Tensor> {
        let Some(transition) = self.transition(chain, t) else { return Ok(x) };
        let at = self.at(score, &x, t)?;
        Ok(match key {
            Some(key) => {
                &x * transition.x + at.score() * transition.score + Form::normal(key) * transition.noise
            }
            None => {
                let last = transition.without_noise(chain.process().variance(t));
                &x * last.x + at.score() * last.score
            }
        }
        .run()?)
    }
}

/// The predictor that a configuration names; `None` if it names none.
pub(super) fn predictor(config: &Sampling) -> Option<Box<dyn Predictor>> {
    let probability_flow = config.probability_flow;
    Some(match config.predictor {
        PredictorName::None => return None,
        PredictorName::EulerMaruyama => Box::new(EulerMaruyama { probability_flow }),
        PredictorName::ReverseDiffusion => Box::new(ReverseDiffusion { probability_flow }),
        PredictorName::ProbabilityFlow => Box::new(ReverseDiffusion { probability_flow: true }),
        PredictorName::StochasticRungeKutta => Box::new(Sra1 { probability_flow }),
        PredictorName::AncestralSampling => {
            Box::new(Ancestral { variance: config.posterior_variance, clip: config.clip_denoised })
        }
    })
}

/// Euler–Maruyama on the reverse-time SDE, dt = 1 / n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EulerMaruyama {
    /// Follow the probability flow instead.
    pub probability_flow: bool,
}

impl Predictor for EulerMaruyama {
    fn transition(&self, chain: &Chain<'_>, t: f64) -> Option<Transition> {
        let (process, dt) = (chain.process(), 1.0 / chain.n() as f64);
        Some(reversed(process.drift(t) * dt, process.diffusion(t) * dt.sqrt(), self.probability_flow))
    }
}

/// The forward discretisation reversed (Song 2021, eq. 46).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReverseDiffusion {
    /// Follow the probability flow instead.
    pub probability_flow: bool,
}

impl Predictor for ReverseDiffusion {
    fn transition(&self, chain: &Chain<'_>, t: f64) -> Option<Transition> {
        let forward = chain.discretize(chain.index(t));
        Some(reversed(forward.drift, forward.diffusion, self.probability_flow))
    }
}

/// Ancestral sampling: DDPM's for VP (Ho 2020, algorithm 2), the posterior of the chain for VE (Song 2021, eq. 47) and, which
/// the reference lacks, for every other process.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ancestral {
    /// The variance of a step of a variance preserving chain; other processes have one only.
    pub variance: PosteriorVariance,
    /// The largest x₀ on either side of 0; none for any.
    pub clip: Option<f64>,
}

impl Predictor for Ancestral {
    fn transition(&self, chain: &Chain<'_>, t: f64) -> Option<Transition> {
        Some(chain.ancestral(chain.index(t), self.variance))
    }

    fn at(&self, score: &dyn Score, x: &Tensor, t: f64) -> Result<Evaluation> {
        let at = score.at(x, &t.into())?;
        self.clip.map_or(Ok(at.clone()), |most| at.clipped(most))
    }
}

/// The reverse of a step of a drift and a diffusion. The flow takes half of the score, and no noise (Song 2021, eq. 13).
fn reversed(drift: f64, diffusion: f64, probability_flow: bool) -> Transition {
    let (share, noise) = if probability_flow { (0.5, 0.0) } else { (1.0, diffusion) };
    Transition { x: 1.0 - drift, score: share * diffusion * diffusion, noise }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::{Process, Ve, Vp, process_tests::PROCESSES};

    const EULER_MARUYAMA: &dyn Predictor = &EulerMaruyama { probability_flow: false };
    const REVERSE_DIFFUSION: &dyn Predictor = &ReverseDiffusion { probability_flow: false };
    const PROBABILITY_FLOW: &dyn Predictor = &ReverseDiffusion { probability_flow: true };
    const BETA: Ancestral = Ancestral { variance: PosteriorVariance::Beta, clip: None };
    const BETA_TILDE: Ancestral = Ancestral { variance: PosteriorVariance::BetaTilde, clip: None };
    const PREDICTORS: [&dyn Predictor; 3] = [EULER_MARUYAMA, REVERSE_DIFFUSION, &BETA];

    /// For data N(μ, s²) the score at every time is known and every step is linear: mean and standard deviation of the
    /// samples follow exactly, with no noise to average over. They start at the process's own end: VE's prior leaves
    /// the data's mean out. The last step has no noise if `ends`.
    fn moments(predictor: &dyn Predictor, chain: Chain<'_>, (mu, s): (f64, f64), ends: bool) -> (f64, f64) {
        let process = chain.process();
        let end = process.marginal_prob(1.0);
        let (mut mean, mut variance) = (end.mean * mu, (end.mean * s).powi(2) + end.std.powi(2));
        for (i, t) in chain.sampling_times().into_iter().enumerate() {
            let m = process.marginal_prob(t);
            let total = (m.mean * s).powi(2) + m.std.powi(2);
            // score = −(x − m μ) / total: the factors of the step make an affine map.
            let last = i + 1 == chain.n();
            let step = predictor.transition(&chain, t).unwrap();
            let step = if last && ends { step.without_noise(process.variance(t)) } else { step };
            let slope = step.x - step.score / total;
            mean = slope * mean + step.score * m.mean * mu / total;
            variance = slope * slope * variance + step.noise * step.noise;
        }
        (mean, variance.sqrt())
    }

    #[test]
    fn every_predictor_converges_to_a_gaussian_on_every_process() {
        for process in PROCESSES {
            for (i, predictor) in PREDICTORS.into_iter().enumerate() {
                let error = |n| {
                    let (mean, std) = moments(predictor, Chain::new(process, n), (0.7, 0.3), true);
                    (mean - 0.7).abs().max((std - 0.3).abs())
                };
                // In the limit the process's own end is left, 1e-5 or 1e-3 away from the data.
                assert!(error(250) < 0.01, "{process:?} predictor {i}: {}", error(250));
                assert!(error(16_000) < 3e-4, "{process:?} predictor {i}: {}", error(16_000));
            }
        }
    }

    #[test]
    fn every_predictor_converges_with_weak_order_one() {
        for process in PROCESSES {
            for (i, predictor) in PREDICTORS.into_iter().chain([PROBABILITY_FLOW]).enumerate() {
                // Differences between doublings leave out the process's own end, which no number of steps removes. More
                // than 1/ε steps would not each find an index of their own.
                let [a, b, c] =
                    [250, 500, 1000].map(|n| moments(predictor, Chain::new(process, n), (0.7, 0.3), false));
                let distance = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).hypot(a.1 - b.1);
                let order = (distance(a, b) / distance(b, c)).log2();
                assert!((order - 1.0).abs() < 0.1, "{process:?} predictor {i}: order {order}");
            }
        }
    }

    #[test]
    fn ddpms_smaller_variance_converges_with_order_one_but_for_a_logarithm() {
        // β − β̃ is β² ᾱ / (1 − ᾱ), and 1 − ᾱ grows like t: the sum over the steps is of order log n / n.
        let vp = Vp { beta_min: 0.1, beta_max: 20.0 };
        let std = |n| moments(&BETA_TILDE, Chain::new(&vp, n), (0.7, 0.3), false).1;
        let order = |n| ((std(2 * n) - std(n)) / (std(4 * n) - std(2 * n))).log2();
        let (few, many) = (order(250), order(2000));
        assert!(0.85 < few && few < many && many < 1.0, "{few} {many}");
        assert!((std(1000) - 0.3).abs() < 0.005, "{}", std(1000));
    }

    #[test]
    fn an_ancestral_step_leaves_the_variance_of_the_state_below_and_reverse_diffusion_more() {
        let ve = Ve { sigma_min: 0.01, sigma_max: 6.0 };
        let chain = Chain::new(&ve, 60);
        for i in 1..chain.n() {
            let [now, below] = [i, i - 1].map(|i| ve.marginal_prob(chain.time(i)).std);
            // About a single point, where the score is −z / σ.
            let ratio = |predictor: &dyn Predictor| {
                let step = predictor.transition(&chain, chain.time(i)).unwrap();
                ((step.x * now - step.score / now).powi(2) + step.noise * step.noise) / (below * below)
            };
            assert!((ratio(&BETA) - 1.0).abs() < 1e-9);
            assert!((ratio(REVERSE_DIFFUSION) - 1.047).abs() < 1e-3);
        }
    }

    #[test]
    fn the_last_step_removes_no_more_noise_than_there_is() {
        for process in PROCESSES {
            for (i, predictor) in PREDICTORS.into_iter().chain([&BETA_TILDE as &dyn Predictor]).enumerate() {
                for n in [10, 100, 1000] {
                    // About a single point the score is −z / s, and s − b / s of z is left after the step.
                    let (chain, t) = (Chain::new(process, n), process.sampling_eps());
                    let step = predictor.transition(&chain, t).unwrap().without_noise(process.variance(t));
                    let left = step.x - step.score / process.variance(t);
                    assert!(left > -1e-9, "{process:?} predictor {i}, {n} steps: {left} s");
                    assert_eq!(step.noise, 0.0);
                }
            }
        }
    }

    #[test]
    fn the_probability_flow_keeps_the_same_marginals_without_noise() {
        for process in PROCESSES {
            for flow in [&EulerMaruyama { probability_flow: true } as &dyn Predictor, PROBABILITY_FLOW] {
                let chain = Chain::new(process, 4000);
                assert_eq!(flow.transition(&chain, 0.5).unwrap().noise, 0.0);
                let (mean, std) = moments(flow, chain, (0.7, 0.3), true);
                assert!((mean - 0.7).abs() < 0.02 && (std - 0.3).abs() < 0.02, "{process:?}: {mean} {std}");
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
        let refused = crate::sample::PredictorCorrector::new(&config, 10);
        assert!(matches!(refused, Err(crate::sample::SampleError::Config(_))));
    }
}
