//! An adaptive solver of the reverse-time SDE: stochastic improved Euler, judged by the Euler–Maruyama step inside it
//! (Jolicoeur-Martineau 2021, algorithm 1).
//!
//! The paper draws fresh noise after a rejection. That is biased, whatever the tolerance: a step is judged by its noise too, so
//! that the path is made of the calm steps. Here a step that is rejected is known to end at a value of the Brownian motion, and
//! a shorter one is drawn from the bridge to it (Rackauckas and Nie 2017, with a memory of the nearest value).

use super::score::Score;
use super::{Draw, Progress, Sampled, Sampler, Watch, denoise, refuse};
use crate::config::{Over, Sampling};
use crate::kernels::Result;
use crate::kernels::inner_product::{lanes, scaled_error};
use crate::kernels::sde_step::{Factors, sde_step, sde_step_each};
use crate::nn::Label;
use crate::random::{Key, Purpose};
use crate::sde::Sde;
use crate::tensor::Tensor;

/// The first step, and the least there may be: with less the solver gives up.
const FIRST: f64 = 0.01;
const LEAST: f64 = 1e-9;
/// The next step is θ E^−r times this one (Jolicoeur-Martineau 2021, algorithm 1), within bounds: an error that is small by
/// chance must not be followed by a leap.
const SAFETY: f64 = 0.9;
const EXPONENT: f64 = 0.9;
const CHANGE: (f64, f64) = (0.1, 2.0);

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
    /// How far ahead its Brownian motion is known; 0 if it is not.
    known: f64,
    attempts: usize,
}

impl Place {
    /// The Brownian motion over the step, from its value at the known time and fresh noise: their factors.
    fn increment(self) -> Factors {
        let Place { h, known, .. } = self;
        let (of_known, variance) = match known {
            0.0 => (0.0, h),
            _ if h < known => (h / known, h * (1.0 - h / known)),
            _ => (1.0, h - known),
        };
        Factors::new(&[of_known], variance.sqrt())
    }
}

/// All samples: tensors of `[n, h, w, c]`, and where each is.
struct State {
    x: Tensor,
    /// The last accepted Euler–Maruyama step, which sets the scale of the tolerance.
    previous: Tensor,
    /// The Brownian motion at the known time less its value now.
    known: Tensor,
    places: Vec<Place>,
}

impl State {
    fn factors(&self, of: impl Fn(Place) -> Factors) -> Vec<Factors> {
        self.places.iter().map(|place| of(*place)).collect()
    }

    fn network(&self, score: &dyn Score, x: &Tensor, time: impl Fn(Place) -> f64) -> Result<Tensor> {
        let labels: Vec<Label> = self.places.iter().map(|place| score.label(time(*place))).collect();
        score.network(x, &labels)
    }
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

    /// Euler–Maruyama over a step: factors of the state, the network's output and the Brownian motion.
    fn euler(&self, score: &dyn Score, Place { t, h, .. }: Place) -> Factors {
        let (g, of) = (self.sde.diffusion(t), score.label(t).score);
        let gain = h * g * g;
        Factors::new(&[1.0 - h * self.sde.drift(t) + gain * of.x, gain * of.net, g], 0.0)
    }

    /// The mean of x′, the Euler–Maruyama step, and of a step from x with the slope at x′ and the same Brownian motion: factors of
    /// x, x′, the network's output at x′ and the Brownian motion.
    fn improved(&self, score: &dyn Score, place: Place) -> Factors {
        let end = Place { t: place.t - place.h, ..place };
        let [of_x, of_net, of_w, ..] = self.euler(score, end).terms;
        Factors::new(&[0.5, 0.5 * of_x, 0.5 * of_net, 0.5 * of_w], 0.0)
    }

    /// Tries a step of each sample, with noise of this key.
    fn attempt(&self, score: &dyn Score, state: &mut State, key: Key) -> Result<()> {
        let State { x, previous, known, places } = &*state;
        let w = sde_step_each(&[known], &state.factors(Place::increment), Some(key))?;
        let net = state.network(score, x, |place| place.t)?;
        let euler = sde_step_each(&[x, &net, &w], &state.factors(|place| self.euler(score, place)), None)?;
        let net = state.network(score, &euler, |place| place.t - place.h)?;
        let factors = state.factors(|place| self.improved(score, place));
        let improved = sde_step_each(&[x, &euler, &net, &w], &factors, None)?;
        let e = sde_step(&[(&improved, 1.0), (&euler, -1.0)], None)?;
        let errors = self.errors(&euler, previous, &e)?;
        let judged: Vec<(Place, bool)> =
            places.iter().zip(errors).map(|(place, error)| self.judge(*place, error)).collect();
        let choose = |a: &Tensor, b: &Tensor, of: &dyn Fn(bool, Place) -> [f64; 2]| {
            let factors: Vec<Factors> =
                judged.iter().map(|(place, taken)| Factors::new(&of(*taken, *place), 0.0)).collect();
            sde_step_each(&[a, b], &factors, None)
        };
        let newer = |taken: bool, _: Place| if taken { [0.0, 1.0] } else { [1.0, 0.0] };
        // After a step that is taken, what is left of the way to the known value; else the end of the step.
        let ahead = |taken: bool, place: Place| match (taken, place.known) {
            (_, 0.0) => [0.0, 0.0],
            (true, _) => [1.0, -1.0],
            (false, _) => [0.0, 1.0],
        };
        *state = State {
            x: choose(x, &improved, &newer)?,
            previous: choose(previous, &euler, &newer)?,
            known: choose(known, &w, &ahead)?,
            places: judged.iter().map(|(place, _)| *place).collect(),
        };
        Ok(())
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
        let Place { t, h, known, attempts } = place;
        if h == 0.0 {
            return (place, false);
        }
        let taken = error <= 1.0;
        let t = if taken { t - h } else { t };
        let known = if taken { (known - h).max(0.0) } else { h };
        let change = if error.is_finite() { SAFETY * error.powf(-EXPONENT) } else { 0.0 };
        let left = t - self.sde.sampling_eps();
        let next = if left < LEAST { 0.0 } else { (h * change.clamp(CHANGE.0, CHANGE.1)).min(left) };
        (Place { t, h: next, known, attempts: attempts + 1 }, taken)
    }
}

impl Sampler for Adaptive {
    fn steps(&self) -> Option<usize> {
        None
    }

    fn run(&self, score: &dyn Score, x: Tensor, draw: Draw, watch: &mut Watch<'_>) -> Result<Sampled> {
        let n = x.shape().n();
        let places = vec![Place { t: 1.0, h: FIRST, known: 0.0, attempts: 0 }; n];
        let mut state = State { previous: x.clone(), known: x.clone(), x, places };
        for attempt in 0.. {
            if state.places.iter().all(|place| place.h == 0.0) {
                break;
            }
            if let Some(stuck) = state.places.iter().find(|place| place.h != 0.0 && place.h < LEAST) {
                return Err(refuse(format!(
                    "the adaptive step has shrunk to {:.1e} at time {:.4}; raise the tolerance (--rtol, --atol)",
                    stuck.h, stuck.t
                )));
            }
            // The number of the loop, not of a sample's own steps: it is the same whatever the batch is.
            self.attempt(score, &mut state, draw.key(Purpose::Predictor).at(attempt))?;
            let behind = state.places.iter().fold(0f64, |t, place| t.max(place.t));
            watch(Progress { step: attempt as usize + 1, t: behind, state: &state.x })?;
        }
        // Those that wait for others of the batch need no more.
        let attempts: usize = state.places.iter().map(|place| place.attempts).sum();
        let evaluations = 2.0 * attempts as f64 / n as f64;
        if !self.noise_removal {
            return Ok(Sampled { x: state.x, evaluations, acceptance: None });
        }
        let x = denoise(score, &state.x, self.sde.sampling_eps())?;
        Ok(Sampled { x, evaluations: evaluations + 1.0, acceptance: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However a step is cut, its parts are what they would be if drawn one after the other.
    #[test]
    fn the_bridge_has_the_brownian_motions_variance_and_covariance() {
        for (h, known) in [(0.3, 0.0), (0.1, 0.4), (0.4, 0.4), (0.7, 0.4)] {
            let place = Place { t: 1.0, h, known, attempts: 0 };
            let Factors { terms: [of_known, ..], noise } = place.increment();
            // Var w(h) = h, and Cov(w(h), w(known)) = min(h, known).
            assert!((of_known * of_known * known + noise * noise - h).abs() < 1e-12, "{h} {known}");
            assert!((of_known * known - h.min(known)).abs() < 1e-12, "{h} {known}");
        }
    }
}
