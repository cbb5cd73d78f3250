//! Particles that make the draws of a guided score those of the posterior: the twisted diffusion sampler (Wu 2023).

use super::inverse::{Guided, Twist};
use super::predictor::Predictor;
use super::step::Step;
use super::{Draw, Progress, Sampled, Watch, refuse};
use crate::config::Sampling;
use crate::kernels::sde_step::sde_step;
use crate::kernels::{Result, concat, inner_product};
use crate::random::{Key, Purpose};
use crate::sde::Sde;
use crate::tensor::Tensor;

/// Sequential Monte Carlo with the steps of a predictor: a guided step proposes, and a particle weighs as much as the
/// step without guidance would have made it, times how much better it explains the measurement than its ancestor did.
/// Light ones give way to heavy ones. Whatever the guidance approximates, with many particles the draws are
/// those of the predictor without guidance given the measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Particles {
    sde: Sde,
    predictor: Predictor,
    count: usize,
    noise_removal: bool,
}

impl Particles {
    /// So many particles of each sample, and the predictor that a configuration describes, with `steps` steps.
    ///
    /// # Errors
    /// If there are fewer than two steps or no particle, or if the predictor's steps are not Gaussian.
    pub fn new(sde: Sde, config: &Sampling, steps: usize, count: usize) -> Result<Particles> {
        if steps < 2 {
            return Err(refuse(format!("{steps} steps; a sampler needs at least 2")));
        }
        if count == 0 {
            return Err(refuse("0 particles; a sample needs at least 1"));
        }
        let sde = Sde { n: steps, ..sde };
        let predictor = Predictor::new(sde, config)?;
        // With one step that adds no noise no other could have been taken.
        if predictor.step(1.0).is_none_or(|step| step.c == 0.0) {
            let remedy = "take euler_maruyama, reverse_diffusion or ancestral_sampling, or 1 particle";
            return Err(refuse(format!("particles need a predictor that adds noise in one step; {remedy}")));
        }
        Ok(Particles { sde, predictor, count, noise_removal: config.noise_removal })
    }

    /// Steps that are made.
    pub fn steps(&self) -> usize {
        self.sde.n
    }

    /// The particles of samples by their numbers: those of sample k have the numbers k `count` and on.
    ///
    /// # Errors
    /// If there are no such numbers.
    pub fn of(&self, draw: Draw) -> Result<Draw> {
        let first = u32::try_from(self.count).ok().and_then(|count| draw.first.checked_mul(count));
        let first =
            first.ok_or_else(|| refuse("the samples' numbers are too large for so many particles"))?;
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
        let (all, noise) = (x.shape().n(), self.of(draw)?.key(Purpose::Predictor));
        let choice = draw.key(Purpose::Resampling);
        let times: Vec<f64> = self.sde.sampling_times().collect();
        let mut weights = vec![0.0; all];
        for (number, &t) in times.iter().enumerate() {
            let mut twist = score.twist(&x, &vec![t; all])?;
            add(&mut weights, &twist.log_likelihood, 1.0);
            let last = number + 1 == times.len();
            let picks = self.resample(&mut weights, choice.at(number as u32), last);
            if picks.iter().enumerate().any(|(i, pick)| i != *pick) {
                (x, twist) = (concat::gather(&x, &x, &picks)?, twist.gather(&picks)?);
            }
            add(&mut weights, &twist.log_likelihood, -1.0);
            let Some(step) = self.predictor.step(t) else { break };
            let noise = (!(last && self.noise_removal)).then_some((step.c, noise.at(number as u32)));
            let next = propose(step, &x, &twist, noise)?;
            if !last {
                add(&mut weights, &gain(step, &x, &next, &twist)?, 1.0);
            }
            x = next;
            x.gpu().flush()?;
            // One of each sample is what is seen.
            let next = *times.get(number + 1).unwrap_or(&t);
            watch(Progress { step: number + 1, t: next, state: &self.first(&x)? })?;
        }
        let evaluations = (self.count * times.len()) as f64;
        Ok(Sampled { x: self.first(&x)?, evaluations, acceptance: None })
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
            let pick = |i: usize| match last {
                true => reached(u),
                false if effective < 0.5 * self.count as f64 => reached((i as f64 + u) / self.count as f64),
                false => i,
            };
            let own: Vec<usize> = (0..self.count).map(pick).collect();
            if own.iter().enumerate().any(|(i, pick)| i != *pick) {
                weights.fill(0.0);
            }
            picks.extend(own.iter().map(|pick| sample * self.count + pick));
        }
        picks
    }

    /// The first particle of each sample.
    fn first(&self, x: &Tensor) -> Result<Tensor> {
        let picks: Vec<usize> = (0..x.shape().n()).step_by(self.count).collect();
        concat::gather(x, x, &picks)
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
