//! An adaptive solver of the reverse-time SDE: stochastic improved Euler, judged by the Euler–Maruyama step inside it
//! (Jolicoeur-Martineau 2021, algorithm 1).
//!
//! The paper draws fresh noise after a rejection. That is biased, whatever the tolerance: a step is judged by its noise too, so
//! that the path is made of the calm steps. Here a rejected step is known to end at a value of the Brownian motion, and
//! a shorter one is drawn from the bridge to it (Rackauckas and Nie 2017, with a memory of the nearest value).

use crate::config::{Over, Sampling};
use crate::kernels::combine::{Factor, Form};
use crate::kernels::inner_product::{lanes, scaled_error};
use crate::random::{Key, Purpose};
use crate::sample::error::{Result, SampleError};
use crate::sample::{Draw, Progress, Sampled, Sampler, Score, Watch};
use crate::tensor::Tensor;

/// The first step, and the smallest there may be: with less the solver gives up.
const FIRST: f64 = 0.01;
const SMALLEST: f64 = 1e-9;
/// The next step is θ E^−r times this one (Jolicoeur-Martineau 2021, algorithm 1), within bounds: an error that is small by
/// chance must not be followed by a leap.
const SAFETY: f64 = 0.9;
const EXPONENT: f64 = 0.9;
const CHANGE: (f64, f64) = (0.1, 2.0);

/// The adaptive solver.
#[derive(Debug, Clone, PartialEq)]
pub struct Adaptive {
    /// The relative tolerance of a step.
    pub rtol: f64,
    /// The absolute tolerance, in the model's range.
    pub atol: f64,
    /// Whether each sample is controlled by its own error, or the batch jointly.
    pub error_norm: Over,
    /// End with the mean of the data given the last state.
    pub noise_removal: bool,
}

/// The progress of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    t: f64,
    /// The length of the step to try; 0 at the end.
    h: f64,
    /// The time ahead up to which the Brownian motion is known; 0 if it is not.
    known: f64,
    attempts: usize,
}

impl Place {
    /// The Brownian motion over the step: the factors of its value at the known time and of fresh noise.
    fn increment(self) -> (f64, f64) {
        let Place { h, known, .. } = self;
        let (of_known, variance) = match known {
            0.0 => (0.0, h),
            _ if h < known => (h / known, h * (1.0 - h / known)),
            _ => (1.0, h - known),
        };
        (of_known, variance.sqrt())
    }
}

/// All samples: tensors of `[n, h, w, c]`, and the progress of each.
struct State {
    x: Tensor,
    /// The last accepted Euler–Maruyama step, which sets the scale of the tolerance.
    previous: Tensor,
    /// The Brownian motion at the known time less its value now.
    known: Tensor,
    places: Vec<Place>,
}

/// A factor of each sample.
fn each(places: &[Place], of: impl Fn(Place) -> f64) -> Factor {
    Factor::Each(places.iter().map(|place| of(*place)).collect())
}

impl Adaptive {
    /// The solver that a configuration describes.
    pub fn new(config: &Sampling) -> Self {
        Adaptive {
            rtol: config.sde_rtol,
            atol: config.sde_atol,
            error_norm: config.error_norm,
            noise_removal: config.noise_removal,
        }
    }

    /// Euler–Maruyama steps from `x` with the slope at `point` and times `time`: x + h (−f x + g² score) + g w.
    fn euler(
        &self,
        score: &dyn Score,
        (x, point, w): (&Tensor, &Tensor, &Tensor),
        places: &[Place],
        time: impl Fn(Place) -> f64,
    ) -> Result<Form> {
        let process = score.process();
        let at = score.at(point, &each(places, &time))?;
        let drift = each(places, |place| -place.h * process.drift(time(place)));
        let gain = each(places, |place| place.h * process.diffusion(time(place)).powi(2));
        Ok(x + point * drift + at.score() * gain + w * each(places, |place| process.diffusion(time(place))))
    }

    /// Tries a step of each sample, with noise of this key.
    fn attempt(&self, score: &dyn Score, state: &mut State, key: Key) -> Result<()> {
        let State { x, previous, known, places } = &*state;
        let fresh = Form::normal(key) * each(places, |place| place.increment().1);
        let w = (known * each(places, |place| place.increment().0) + fresh).run()?;
        let euler = self.euler(score, (x, x, &w), places, |place| place.t)?.run()?;
        // The mean of the Euler–Maruyama step and of one with the slope at its end.
        let second = self.euler(score, (x, &euler, &w), places, |place| place.t - place.h)?;
        let improved = ((&euler + second) * 0.5).run()?;
        let errors = self.errors(&euler, previous, &(&improved - &euler).run()?)?;
        let eps = score.process().sampling_eps();
        let judged: Vec<(Place, bool)> =
            places.iter().zip(errors).map(|(place, error)| judge(*place, error, eps)).collect();
        let choose = |a: &Tensor, b: &Tensor, of: &dyn Fn(bool, Place) -> [f64; 2]| {
            let factor =
                |i: usize| judged.iter().map(|(place, taken)| of(*taken, *place)[i]).collect::<Vec<_>>();
            (a * factor(0) + b * factor(1)).run()
        };
        let newer = |taken: bool, _: Place| if taken { [0.0, 1.0] } else { [1.0, 0.0] };
        // After a step that is taken, the rest of the way to the known value; else the end of the step.
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
        let square = |own: f64| if self.error_norm == Over::Batch { batch } else { own };
        Ok(squares.iter().map(|own| (square(*own) / dimensions).sqrt()).collect())
    }
}

/// The place after a step with an error, and whether the step is taken; the run ends at `eps`.
fn judge(place: Place, error: f64, eps: f64) -> (Place, bool) {
    let Place { t, h, known, attempts } = place;
    if h == 0.0 {
        return (place, false);
    }
    let taken = error <= 1.0;
    let t = if taken { t - h } else { t };
    let known = if taken { (known - h).max(0.0) } else { h };
    let change = if error.is_finite() { SAFETY * error.powf(-EXPONENT) } else { 0.0 };
    let left = t - eps;
    let next = if left < SMALLEST { 0.0 } else { (h * change.clamp(CHANGE.0, CHANGE.1)).min(left) };
    (Place { t, h: next, known, attempts: attempts + 1 }, taken)
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
            if let Some(stuck) = state.places.iter().find(|place| place.h != 0.0 && place.h < SMALLEST) {
                return Err(SampleError::StepTooSmall { t: stuck.t });
            }
            // The number of the loop, not of a sample's own steps: it is the same whatever the batch is.
            self.attempt(score, &mut state, draw.key(Purpose::Predictor).at(attempt))?;
            let behind = state.places.iter().fold(0f64, |t, place| t.max(place.t));
            watch(Progress { step: attempt as usize + 1, t: behind, state: &state.x })?;
        }
        // Samples that wait for others of the batch need no more.
        let attempts: usize = state.places.iter().map(|place| place.attempts).sum();
        let evaluations = 2.0 * attempts as f64 / n as f64;
        Sampled::at_the_end(score, state.x, evaluations, self.noise_removal)
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
            let (of_known, noise) = place.increment();
            // Var w(h) = h, and Cov(w(h), w(known)) = min(h, known).
            assert!((of_known * of_known * known + noise * noise - h).abs() < 1e-12, "{h} {known}");
            assert!((of_known * known - h.min(known)).abs() < 1e-12, "{h} {known}");
        }
    }
}
