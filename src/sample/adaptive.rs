//! An adaptive solver of the reverse-time SDE: stochastic improved Euler, judged by the Euler–Maruyama step inside it
//! (Jolicoeur-Martineau 2021, algorithm 1).
//!
//! A rejected step is drawn anew with a shorter length and, as in the paper, fresh noise. Steps are judged by their noise too, so
//! that this favours calm noise a little, the less the fewer steps are rejected: the bias is of the order of the
//! tolerance.

use super::score::{Counted, Score};
use super::{Draw, Progress, Sampled, Sampler, Watch, denoise, refuse};
use crate::config::{Over, Sampling};
use crate::kernels::Result;
use crate::kernels::inner_product::{lanes, scaled_error};
use crate::kernels::sde_step::{Factors, sde_step, sde_step_each};
use crate::nn::Label;
use crate::random::Purpose;
use crate::sde::Sde;
use crate::tensor::Tensor;

/// The first step, and the least there may be: with less the solver gives up.
const FIRST: f64 = 0.01;
const LEAST: f64 = 1e-9;
/// The next step is θ E^−r times this one (Jolicoeur-Martineau 2021, table 5), grown and shrunk within bounds.
const SAFETY: f64 = 0.9;
const EXPONENT: f64 = 0.9;
const CHANGE: (f64, f64) = (0.1, 10.0);

/// The adaptive solver for one process.
#[derive(Debug, Clone, PartialEq)]
pub struct Adaptive {
    sde: Sde,
    rtol: f64,
    atol: f64,
    over: Over,
    noise_removal: bool,
}

/// Where a sample is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    t: f64,
    /// The length of the step that it tries; 0 once it has arrived.
    h: f64,
    attempts: usize,
}

impl Adaptive {
    /// The solver that a configuration describes.
    pub fn new(sde: Sde, config: &Sampling) -> Self {
        Adaptive {
            sde,
            rtol: config.sde_rtol,
            atol: config.sde_atol,
            over: config.error_norm,
            noise_removal: config.noise_removal,
        }
    }

    /// Euler–Maruyama over each sample's step: factors of the state and the network's output.
    fn euler(&self, place: Place, label: Label) -> Factors {
        let Place { t, h, .. } = place;
        let g = self.sde.diffusion(t);
        let gain = h * g * g;
        Factors::new(
            &[1.0 - h * self.sde.drift(t) + gain * label.score.x, gain * label.score.net],
            h.sqrt() * g,
        )
    }

    /// The mean of x′, the Euler–Maruyama step, and x̃ = x + a step like it from x′ and t − h, with the same noise: factors of x,
    /// x′ and the network's output at x′.
    fn improved(&self, place: Place, label: Label) -> Factors {
        let end = Place { t: place.t - place.h, ..place };
        let Factors { terms: [of_x, of_net, ..], noise } = self.euler(end, label);
        Factors::new(&[0.5, 0.5 * of_x, 0.5 * of_net], 0.5 * noise)
    }

    /// The errors of the steps in units of their tolerance: each sample's, or the batch's for all.
    fn errors(&self, from: &Tensor, to: &Tensor, e: &Tensor) -> Result<Vec<f64>> {
        let squares = lanes(&scaled_error(from, to, e, self.rtol, self.atol)?)?;
        let dimensions = from.shape().with_n(1).len() as f64;
        let batch = squares.iter().sum::<f64>() / squares.len() as f64;
        let square = |own: f64| if self.over == Over::Batch { batch } else { own };
        Ok(squares.iter().map(|own| (square(*own) / dimensions).sqrt()).collect())
    }

    /// The place after a step with an error, and whether the step is taken.
    fn judge(&self, place: Place, error: f64) -> (Place, bool) {
        if place.h == 0.0 {
            return (place, false);
        }
        let accepted = error <= 1.0;
        let t = if accepted { place.t - place.h } else { place.t };
        // A comparison with what is not a number is false.
        let change = SAFETY * error.powf(-EXPONENT);
        let change = if error.is_finite() { change.clamp(CHANGE.0, CHANGE.1) } else { CHANGE.0 };
        let left = t - self.sde.sampling_eps();
        // What would be left of less than a step's rounding is no step.
        let h = if left < LEAST { 0.0 } else { (place.h * change).min(left) };
        (Place { t, h, attempts: place.attempts + 1 }, accepted)
    }
}

impl Sampler for Adaptive {
    fn steps(&self) -> Option<usize> {
        None
    }

    fn run(&self, score: &dyn Score, mut x: Tensor, draw: Draw, watch: &mut Watch<'_>) -> Result<Sampled> {
        let score = &Counted::new(score);
        let n = x.shape().n();
        let mut places = vec![Place { t: 1.0, h: FIRST, attempts: 0 }; n];
        // The last accepted Euler–Maruyama step, which sets the scale of the tolerance.
        let mut previous = x.clone();
        for attempt in 0.. {
            if places.iter().all(|place| place.h == 0.0) {
                break;
            }
            if let Some(stuck) = places.iter().find(|place| place.h != 0.0 && place.h < LEAST) {
                return Err(refuse(format!(
                    "the adaptive step has shrunk to {:.1e} at time {:.4}; raise the tolerance (--rtol, --atol)",
                    stuck.h, stuck.t
                )));
            }
            // A number of loops, not of a sample's own steps: it is the same whatever the batch is.
            let key = draw.key(Purpose::Predictor).at(attempt);
            let each = |of: &dyn Fn(Place) -> Factors| places.iter().map(|p| of(*p)).collect::<Vec<_>>();
            let labels = |of: &dyn Fn(Place) -> f64| -> Vec<Label> {
                places.iter().map(|place| score.label(of(*place))).collect()
            };
            let net = score.network(&x, &labels(&|place| place.t))?;
            let euler = sde_step_each(&[&x, &net], &each(&|p| self.euler(p, score.label(p.t))), Some(key))?;
            let net = score.network(&euler, &labels(&|place| place.t - place.h))?;
            let factors = each(&|p| self.improved(p, score.label(p.t - p.h)));
            let improved = sde_step_each(&[&x, &euler, &net], &factors, Some(key))?;
            let e = sde_step(&[(&improved, 1.0), (&euler, -1.0)], None)?;
            let errors = self.errors(&euler, &previous, &e)?;
            let judged: Vec<(Place, bool)> =
                places.iter().zip(&errors).map(|(place, error)| self.judge(*place, *error)).collect();
            let chosen: Vec<Factors> = judged
                .iter()
                .map(|(_, taken)| Factors::new(if *taken { &[0.0, 1.0] } else { &[1.0, 0.0] }, 0.0))
                .collect();
            x = sde_step_each(&[&x, &improved], &chosen, None)?;
            previous = sde_step_each(&[&previous, &euler], &chosen, None)?;
            places = judged.into_iter().map(|(place, _)| place).collect();
            let behind = places.iter().fold(0f64, |t, place| t.max(place.t));
            watch(Progress { step: attempt as usize + 1, t: behind, state: &x })?;
        }
        let attempts: usize = places.iter().map(|place| place.attempts).sum();
        let mut evaluations = 2.0 * attempts as f64 / n as f64;
        if self.noise_removal {
            x = denoise(score, &x, self.sde.sampling_eps())?;
            evaluations += 1.0;
        }
        Ok(Sampled { x, evaluations, acceptance: None })
    }
}
