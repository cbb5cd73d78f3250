//! Particles that make the draws of a guided score those of the posterior: the twisted diffusion sampler (Wu 2023).

use super::inverse::{Guided, Twist};
use super::step::Step;
use super::{Draw, PredictorCorrector, Progress, Sampled, Score, Watch, refuse};
use crate::gpu::Gpu;
use crate::kernels::sde_step::sde_step;
use crate::kernels::{Result, concat, inner_product};
use crate::nn::Label;
use crate::random::{Key, Purpose};
use crate::sde::Sde;
use crate::tensor::{Shape, Tensor};
use std::cell::{Cell, RefCell};

/// Sequential Monte Carlo with the steps of a predictor–corrector sampler: a guided step proposes, and a particle weighs as
/// much as the step without guidance would have made it, times how much better it explains the measurement than
/// its ancestor did. Light ones give way to heavy ones. A corrector's steps move them at a time without changing what
/// they weigh. Whatever the guidance approximates, with many particles the draws are those of the predictor without
/// guidance given the measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Particles {
    sampler: PredictorCorrector,
    count: usize,
}

impl Particles {
    /// So many particles of each sample, and the sampler whose steps they take.
    ///
    /// # Errors
    /// If there is no particle, or if the predictor's steps are not Gaussian.
    pub fn new(sampler: PredictorCorrector, count: usize) -> Result<Particles> {
        if count == 0 {
            return Err(refuse("0 particles; a sample needs at least 1"));
        }
        // A step that adds no noise is the only one that could have been taken.
        if sampler.predictor.step(1.0).is_none_or(|step| step.c == 0.0) {
            let remedy = "take euler_maruyama, reverse_diffusion or ancestral_sampling, or 1 particle";
            return Err(refuse(format!("particles need a predictor that adds noise in one step; {remedy}")));
        }
        Ok(Particles { sampler, count })
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

    /// What belongs to each sample, once for each of its particles.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn repeat(&self, x: &Tensor) -> Result<Tensor> {
        let picks: Vec<usize> = (0..self.count * x.shape().n()).map(|i| i / self.count).collect();
        concat::gather(x, x, &picks)
    }

    /// Runs from the states at time 1 of all particles, `[n count, h, w, c]`, to the n samples of `draw`, one particle each. The
    /// score's measurements are one for each particle.
    ///
    /// # Errors
    /// If the device refuses, or `watch` fails.
    pub fn run(
        &self,
        score: &Guided<'_>,
        mut x: Tensor,
        draw: Draw,
        watch: &mut Watch<'_>,
    ) -> Result<Sampled> {
        let PredictorCorrector { sde, predictor, corrector, noise_removal } = &self.sampler;
        let (all, own, choice) =
            (x.shape().n(), self.of(draw, x.shape().n() / self.count)?, draw.key(Purpose::Resampling));
        let score = &Watched { score, first: RefCell::default(), count: Cell::new(0) };
        let accepted = Tensor::zeros(x.gpu(), Shape::vector(all))?;
        let times: Vec<f64> = sde.sampling_times().collect();
        let mut weights = vec![0.0; all];
        for (step, &t) in times.iter().enumerate() {
            let (number, last) = (step as u32, step + 1 == times.len());
            for inner in 0..corrector.steps() {
                x = corrector.run(score, x, t, own, (number, inner), &accepted)?;
            }
            let moved = corrector.steps() > 0;
            let twist = if moved { None } else { Some(score.twist(&x, t)?) };
            // What they were worth as they came to this time.
            add(&mut weights, &score.first.take().unwrap_or_default(), 1.0);
            let picks = self.resample(&mut weights, choice.at(number), last);
            x = concat::gather(&x, &x, &picks)?;
            let twist = twist.map_or_else(|| score.twist(&x, t), |twist| twist.gather(&picks))?;
            score.first.take();
            add(&mut weights, &twist.log_likelihood()?, -1.0);
            let key = (!(last && *noise_removal)).then(|| own.key(Purpose::Predictor).at(number));
            let Some(taken) = predictor.taken(t, key.is_some()) else { break };
            let next = propose(taken, &x, &twist, key.map(|key| (taken.c, key)))?;
            if !last {
                add(&mut weights, &gain(taken, &x, &next, &twist)?, 1.0);
            }
            x = next;
            x.gpu().flush()?;
            // One of each sample is what is seen.
            watch(Progress {
                step: step + 1,
                t: *times.get(step + 1).unwrap_or(&t),
                state: &self.first(&x)?,
            })?;
        }
        let evaluations = (self.count * score.count.get()) as f64;
        Ok(Sampled { x: self.first(&x)?, evaluations, acceptance: self.sampler.acceptance(&accepted)? })
    }

    /// Who goes on in each one's place, given the logarithms of the weights, which are made alike where anybody is replaced:
    /// where the effective number of a sample's particles is below half (Wu 2023, algorithm 1), systematically by one
    /// uniform number of the sample. In the end all give way to one.
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
        concat::gather(x, x, &picks)
    }
}

/// A guided score that counts its evaluations, and remembers of the first what the states were worth.
struct Watched<'a> {
    score: &'a Guided<'a>,
    /// log p(y | x).
    first: RefCell<Option<Vec<f64>>>,
    count: Cell<usize>,
}

impl Watched<'_> {
    fn twist(&self, x: &Tensor, t: f64) -> Result<Twist> {
        let twist = self.score.twist(x, &vec![t; x.shape().n()])?;
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

    fn sde(&self) -> &Sde {
        self.score.sde()
    }

    fn label(&self, t: f64) -> Label {
        self.score.label(t)
    }

    fn network(&self, x: &Tensor, labels: &[Label]) -> Result<Tensor> {
        self.twist(x, labels.first().map_or(1.0, |label| label.label))?.sum()
    }

    fn tangents(&self, stack: &Tensor, probes: usize, labels: &[Label]) -> Result<Tensor> {
        self.score.tangents(stack, probes, labels)
    }
}

fn add(weights: &mut [f64], terms: &[f64], factor: f64) {
    weights.iter_mut().zip(terms).for_each(|(weight, term)| *weight += factor * term);
}

/// The guided step, a x + b (score + gradient) + c z.
fn propose(step: Step, x: &Tensor, twist: &Twist, noise: Option<(f64, Key)>) -> Result<Tensor> {
    sde_step(&[(x, step.a), (&twist.score, step.b), (&twist.gradient, step.b)], noise)
}

/// How much likelier the step without guidance is to have led to `next` than that with it, as a logarithm for each particle:
/// with μ = a x + b score and g the gradient, (‖next − μ − b g‖² − ‖next − μ‖²) / 2c² = −(b / 2c²) g · (2 (next − μ) − b g).
fn gain(step: Step, x: &Tensor, next: &Tensor, twist: &Twist) -> Result<Vec<f64>> {
    let Step { a, b, c } = step;
    let Twist { score, gradient, .. } = twist;
    let both = sde_step(&[(next, 2.0), (x, -2.0 * a), (score, -2.0 * b), (gradient, -b)], None)?;
    let products = inner_product::lanes(&inner_product::inner_product(gradient, &both)?)?;
    Ok(products.iter().map(|product| -b / (2.0 * c * c) * product).collect())
}
