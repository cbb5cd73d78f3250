//! Particles that make the samples of a guided score those of the posterior: the twisted diffusion sampler (Wu 2023).

use super::driver::stops;
use super::{Moment, PredictorCorrector};
use crate::gpu::Gpu;
use crate::kernels::combine::Form;
use crate::kernels::{inner_product, layout};
use crate::random::{Key, Purpose};
use crate::sample::error::{Result, SampleError, refuse};
use crate::sample::{Draw, Evaluation, Guided, Progress, Sampled, Score, Times, Twist, Watch};
use crate::sde::{Chain, Process, Transition};
use crate::tensor::{Shape, Tensor};
use std::cell::{Cell, RefCell};

/// Sequential Monte Carlo with the steps of a predictor–corrector sampler. Guided steps are the proposal. A particle's weight is
/// the ratio of the unguided to the guided transition density, times the ratio of its likelihood to its ancestor's.
/// Particles are resampled when the effective sample size falls below half. Corrector steps move particles at a fixed time
/// and leave the weights unchanged. Whatever the guidance approximates, with many particles the samples are those of the
/// predictor without guidance given the measurement.
pub struct Particles {
    sampler: PredictorCorrector,
    count: usize,
}

impl Particles {
    /// `count` particles of each sample, and the sampler whose steps they take on a process.
    ///
    /// # Errors
    /// If there is no particle, or the predictor's steps are not Gaussian.
    pub fn new(sampler: PredictorCorrector, count: usize, process: &dyn Process) -> Result<Particles> {
        if count == 0 {
            return Err(refuse("0 particles; a sample needs at least 1"));
        }
        let particles = Particles { sampler, count };
        let first = particles.transition(&Chain::new(process, particles.sampler.steps), 1.0)?;
        // A step without noise leaves no density to compare.
        if first.noise > 0.0 { Ok(particles) } else { Err(no_gaussian()) }
    }

    /// The particles of `n` samples by their numbers: those of sample k have the numbers k `count` and on.
    ///
    /// # Errors
    /// If there are no such numbers.
    pub fn of(&self, draw: Draw, n: usize) -> Result<Draw> {
        let number = |sample: usize| u32::try_from(sample.checked_mul(self.count)?).ok();
        let first = draw.first as usize;
        let numbers = number(first).filter(|_| number(first + n).is_some());
        let first = numbers.ok_or_else(|| {
            let count = self.count;
            refuse(format!("there are no numbers for {count} particles each of samples from {first} on"))
        })?;
        Ok(Draw { first, ..draw })
    }

    /// `x` `[n, …]` with each sample repeated for each of its particles.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn repeat(&self, x: &Tensor) -> Result<Tensor> {
        let picks: Vec<usize> = (0..self.count * x.shape().n()).map(|i| i / self.count).collect();
        Ok(layout::gather(x, x, &picks)?)
    }

    /// The predictor's transition.
    fn transition(&self, chain: &Chain<'_>, t: f64) -> Result<Transition> {
        let transition = self.sampler.predictor.as_ref().and_then(|predictor| predictor.transition(chain, t));
        transition.ok_or_else(no_gaussian)
    }

    /// Runs from the states at time 1 of all particles, `[n count, h, w, c]`, to the n samples of `draw`, one particle each. The
    /// score's measurements are one for each particle.
    ///
    /// # Errors
    /// If the predictor's steps are not Gaussian, or `watch` fails.
    pub fn run(
        &self,
        score: &Guided<'_>,
        mut x: Tensor,
        draw: Draw,
        watch: &mut Watch<'_>,
    ) -> Result<Sampled> {
        let chain = Chain::new(score.process(), self.sampler.steps);
        let (all, own, choice) =
            (x.shape().n(), self.of(draw, x.shape().n() / self.count)?, draw.key(Purpose::Resampling));
        let score = &Watched { score, first: RefCell::default(), count: Cell::new(0) };
        let accepted = Tensor::zeros(x.gpu(), Shape::vector(all))?;
        let mut weights = vec![0.0; all];
        for stop in stops(&chain.sampling_times()) {
            let (t, last) = (stop.t, stop.next.is_none());
            let at = Moment::new(score, chain, t, own, stop.number(), &accepted);
            x = self.sampler.correct(&at, x, &|x, _| Ok(x))?;
            let moved = self.sampler.corrector.is_some();
            let twist = if moved { None } else { Some(score.twist(&x, &t.into())?) };
            // Their likelihood when they arrived at this time.
            add(&mut weights, &score.first.take().unwrap_or_default(), 1.0);
            let picks = self.resample(&mut weights, choice.at(stop.number()), last);
            x = layout::gather(&x, &x, &picks)?;
            let twist = twist.map_or_else(|| score.twist(&x, &t.into()), |twist| twist.gather(&picks))?;
            score.first.take();
            add(&mut weights, &twist.log_likelihood()?, -1.0);
            let step = self.transition(&chain, t)?;
            if last && self.sampler.noise_removal {
                let step = step.without_noise(score.process().variance(t));
                x = propose(step, &x, &twist).run()?;
            } else {
                let noise = Form::normal(own.key(Purpose::Predictor).at(stop.number())) * step.noise;
                let next = (propose(step, &x, &twist) + noise).run()?;
                if !last {
                    add(&mut weights, &gain(step, &x, &next, &twist)?, 1.0);
                }
                x = next;
            }
            x.gpu().flush()?;
            // One particle of each sample is shown.
            watch(Progress { step: stop.step + 1, t: stop.after(), state: &self.first(&x)? })?;
        }
        let evaluations = (self.count * score.count.get()) as f64;
        Ok(Sampled { x: self.first(&x)?, evaluations, acceptance: self.sampler.acceptance(&accepted)? })
    }

    /// The ancestor of each particle, given the logarithms of the weights. A sample's particles are resampled where their
    /// effective number is below half (Wu 2023, algorithm 1), systematically by one uniform number of the sample, and their
    /// weights are then equal. At the last step one particle replaces all.
    fn resample(&self, weights: &mut [f64], key: Key, last: bool) -> Vec<usize> {
        let mut picks = Vec::with_capacity(weights.len());
        for (sample, weights) in weights.chunks_mut(self.count).enumerate() {
            let top = weights.iter().fold(f64::NEG_INFINITY, |top, w| top.max(*w));
            let shares: Vec<f64> = weights.iter().map(|w| (w - top).exp()).collect();
            let total: f64 = shares.iter().sum();
            let effective = total * total / shares.iter().map(|share| share * share).sum::<f64>();
            let u = f64::from(key.uniform(sample as u32, 0)[0]);
            // The first whose share reaches so far into the whole.
            let reached = |point: f64| {
                let mut sum = 0.0;
                let found = shares.iter().position(|share| {
                    sum += share / total;
                    sum > point
                });
                found.unwrap_or(self.count - 1)
            };
            if !last && effective >= 0.5 * self.count as f64 {
                picks.extend((0..self.count).map(|i| sample * self.count + i));
                continue;
            }
            let pick = |i: usize| reached(if last { u } else { (i as f64 + u) / self.count as f64 });
            picks.extend((0..self.count).map(|i| sample * self.count + pick(i)));
            weights.fill(0.0);
        }
        picks
    }

    /// The first particle of each sample.
    fn first(&self, x: &Tensor) -> Result<Tensor> {
        let picks: Vec<usize> = (0..x.shape().n()).step_by(self.count).collect();
        Ok(layout::gather(x, x, &picks)?)
    }
}

/// A guided score that counts its evaluations, and keeps the likelihoods of the first.
struct Watched<'a> {
    score: &'a Guided<'a>,
    /// log p(y | x).
    first: RefCell<Option<Vec<f64>>>,
    count: Cell<usize>,
}

impl Watched<'_> {
    fn twist(&self, x: &Tensor, t: &Times) -> Result<Twist> {
        let twist = self.score.twist(x, t)?;
        self.count.set(self.count.get() + 1);
        if self.first.borrow().is_none() {
            self.first.replace(Some(twist.log_likelihood()?));
        }
        Ok(twist)
    }
}

impl Score for Watched<'_> {
    fn gpu(&self) -> &Gpu {
        self.score.gpu()
    }

    fn process(&self) -> &dyn Process {
        self.score.process()
    }

    fn at(&self, x: &Tensor, t: &Times) -> Result<Evaluation> {
        Ok(self.twist(x, t)?.evaluation())
    }
}

fn no_gaussian() -> SampleError {
    let remedy = "take euler_maruyama, reverse_diffusion or ancestral_sampling, or 1 particle";
    refuse(format!("particles need a predictor that adds noise in one step; {remedy}"))
}

fn add(weights: &mut [f64], terms: &[f64], factor: f64) {
    weights.iter_mut().zip(terms).for_each(|(weight, term)| *weight += factor * term);
}

/// The mean of the guided step: a x + b (score + gradient).
fn propose(step: Transition, x: &Tensor, twist: &Twist) -> Form {
    x * step.x + (twist.score() + &twist.gradient) * step.score
}

/// The logarithm of the ratio of the unguided to the guided transition density, for each particle: with μ = a x + b score and
/// g the gradient, (‖next − μ − b g‖² − ‖next − μ‖²) / 2c² = −(b / 2c²) g · (2 (next − μ) − b g).
fn gain(step: Transition, x: &Tensor, next: &Tensor, twist: &Twist) -> Result<Vec<f64>> {
    let Transition { x: a, score: b, noise: c } = step;
    let both = (next * 2.0 - x * (2.0 * a) - twist.score() * (2.0 * b) - &twist.gradient * b).run()?;
    let products = inner_product::lanes(&inner_product::inner_product(&twist.gradient, &both)?)?;
    Ok(products.iter().map(|product| -b / (2.0 * c * c) * product).collect())
}
