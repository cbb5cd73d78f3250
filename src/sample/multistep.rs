//! Multistep solvers of the probability flow in λ = ln(m / s) for a network seen as a denoiser D: DPM-Solver++ of orders 1
//! to 3 (Lu 2022). Order 1 is DDIM (Song 2021a), with its noise η, and Euler's method in EDM's coordinates.

use super::grid::{denoiser, levels};
use super::score::{Counted, Score};
use super::{Draw, Progress, Sampled, Sampler, Watch};
use crate::config::{Sampling, Schedule};
use crate::kernels::{Result, sde_step::sde_step};
use crate::nn::Combination;
use crate::random::Purpose;
use crate::sde::{Level, Sde};
use crate::tensor::Tensor;
use std::collections::VecDeque;

/// With fewer steps than these the last ones are of lower order: an extrapolation over long steps is a bad guess.
const FEW: usize = 15;

/// A multistep solver for one process.
#[derive(Debug, Clone, PartialEq)]
pub struct Multistep {
    levels: Vec<Level>,
    order: usize,
    eta: f64,
}

/// A level with the state there and what the network made of it, and what makes D of both.
struct Seen {
    level: Level,
    x: Tensor,
    net: Tensor,
    denoiser: Combination,
}

impl Multistep {
    /// The solver of an `order` from 1 to 3 as a configuration describes it, with `steps` steps; `schedule` is its own.
    /// With `eta` above 0 the order is 1.
    ///
    /// # Errors
    /// If there are fewer than two steps.
    pub fn new(
        sde: Sde,
        config: &Sampling,
        steps: usize,
        (order, eta): (usize, f64),
        schedule: Schedule,
    ) -> Result<Self> {
        let levels = levels(&sde, config.schedule.unwrap_or(schedule), config, steps)?;
        Ok(Multistep { levels, order: if eta > 0.0 { 1 } else { order }, eta })
    }

    /// The order of step `i`.
    fn order_of(&self, i: usize) -> usize {
        let steps = self.levels.len() - 1;
        let left = if steps < FEW { steps - i } else { self.order };
        self.order.min(i + 1).min(left)
    }
}

/// Factors of D at the last levels, newest first, in x̃′ = σ′ / σ x̃ + σ′ ∫ e^λ D dλ: the integral of the polynomial through
/// as many values as there are `lambdas`, to `target`.
fn weights(lambdas: &[f64], target: f64) -> Vec<f64> {
    let h = target - lambdas[0];
    let whole = -(-h).exp_m1();
    // Nodes relative to the newest, and e^−h ∫ e^u uᵏ du from 0 to h by parts.
    let u = |j: usize| lambdas[j] - lambdas[0];
    let first = h - whole;
    let second = h * h - 2.0 * first;
    match lambdas.len() {
        1 => vec![whole],
        2 => vec![whole - first / u(1), first / u(1)],
        _ => {
            let lagrange = |j: usize, other: usize| (second - u(other) * first) / (u(j) * (u(j) - u(other)));
            let (one, two) = (lagrange(1, 2), lagrange(2, 1));
            vec![whole - one - two, one, two]
        }
    }
}

/// The step from the newest of the levels seen to `to`: the factor of its x̃, those of every D, and that of the noise.
fn step(levels: &[Level], to: Level, eta: f64) -> (f64, Vec<f64>, f64) {
    let ratio = to.sigma / levels[0].sigma;
    if eta == 0.0 && to.sigma > 0.0 {
        let lambdas: Vec<f64> = levels.iter().map(Level::lambda).collect();
        return (ratio, weights(&lambdas, to.lambda()), 0.0);
    }
    // DDIM (Song 2021a, eqs. 12 and 16); at η = 1 the posterior of x̃′ given x̃ and x₀.
    let noise = eta * to.sigma * (1.0 - ratio * ratio).sqrt();
    let kept = (to.sigma * to.sigma - noise * noise).sqrt() / levels[0].sigma;
    (kept, vec![1.0 - kept], noise)
}

impl Sampler for Multistep {
    fn steps(&self) -> Option<usize> {
        Some(self.levels.len() - 1)
    }

    fn run(&self, score: &dyn Score, mut x: Tensor, draw: Draw, watch: &mut Watch<'_>) -> Result<Sampled> {
        let score = &Counted::new(score);
        let mut seen: VecDeque<Seen> = VecDeque::new();
        for (i, pair) in self.levels.windows(2).enumerate() {
            let (from, to) = (pair[0], pair[1]);
            let net = score.network(&x, &vec![score.label(from.t); x.shape().n()])?;
            seen.push_front(Seen { level: from, x, net, denoiser: denoiser(score, from) });
            let order = if to.sigma == 0.0 { 1 } else { self.order_of(i) };
            seen.truncate(self.order);
            let used: Vec<&Seen> = seen.iter().take(order).collect();
            let levels: Vec<Level> = used.iter().map(|seen| seen.level).collect();
            let (kept, weights, noise) = step(&levels, to, self.eta);
            let mut terms = Vec::with_capacity(2 * order);
            for (seen, weight) in used.iter().zip(weights) {
                terms.push((&seen.x, to.mean * weight * seen.denoiser.x));
                terms.push((&seen.net, to.mean * weight * seen.denoiser.net));
            }
            terms[0].1 += to.mean * kept / from.mean;
            let key = draw.key(Purpose::Predictor).at(i as u32);
            x = sde_step(&terms, (noise != 0.0).then_some((to.mean * noise, key)))?;
            score.gpu().flush()?;
            watch(Progress { step: i + 1, t: to.t, state: &x })?;
        }
        Ok(Sampled { x, evaluations: score.count() as f64, acceptance: None })
    }
}
