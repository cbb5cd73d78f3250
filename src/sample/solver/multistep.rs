//! Multistep solvers of the probability flow in λ = ln(m / s) for a network seen as a denoiser D: DPM-Solver++ of orders 1
//! to 3 (Lu 2022), of the reverse-time SDE where η is above 0. Order 1 is DDIM (Song 2021a) and, without noise, Euler's
//! method in EDM's coordinates.

use super::driver::Driver;
use super::grid::Grid;
use crate::config::Sampling;
use crate::kernels::combine::Form;
use crate::random::Purpose;
use crate::sample::error::Result;
use crate::sample::{Draw, Evaluation, Sampled, Sampler, Score, Watch};
use crate::sde::Level;
use crate::tensor::Tensor;
use std::collections::VecDeque;

/// With fewer steps than these the last ones are of lower order: an extrapolation over long steps is a bad guess.
const FEW: usize = 15;

/// A multistep solver.
#[derive(Debug, Clone, PartialEq)]
pub struct Multistep {
    /// The noise levels.
    pub grid: Grid,
    /// The order, from 1 to 3.
    pub order: usize,
    /// The noise: 0 follows the probability flow, 1 the reverse-time SDE; above 1 it scales the SDE's noise.
    pub eta: f64,
}

impl Multistep {
    /// The solver of an order that a configuration describes, with `steps` steps.
    ///
    /// # Errors
    /// If there are fewer than two steps.
    pub fn new<const ORDER: usize>(config: &Sampling, steps: usize) -> Result<Multistep> {
        let eta = if config.method.capabilities().eta { config.eta } else { 0.0 };
        Ok(Multistep { grid: Grid::new(config, steps)?, order: ORDER, eta })
    }

    /// The order of step `i`.
    fn order_of(&self, i: usize) -> usize {
        let left = if self.grid.steps < FEW { self.grid.steps - i } else { self.order };
        self.order.clamp(1, 3).min(i + 1).min(left)
    }
}

impl Sampler for Multistep {
    fn steps(&self) -> Option<usize> {
        Some(self.grid.steps)
    }

    fn run(&self, score: &dyn Score, mut x: Tensor, draw: Draw, watch: &mut Watch<'_>) -> Result<Sampled> {
        let mut run = Driver::new(score, watch);
        // The last levels with the evaluations there, newest first.
        let mut seen: VecDeque<(Level, Evaluation)> = VecDeque::new();
        for (i, pair) in self.grid.levels(score.process())?.windows(2).enumerate() {
            let (from, to) = (pair[0], pair[1]);
            seen.push_front((from, run.at(&x, &from.t.into())?));
            seen.truncate(if to.sigma == 0.0 { 1 } else { self.order_of(i) });
            let levels: Vec<Level> = seen.iter().map(|(level, _)| *level).collect();
            let Coefficients { kept, weights, noise } = Coefficients::new(&levels, to, self.eta);
            let z = Form::normal(draw.key(Purpose::Predictor).at(i as u32));
            let denoised = seen.iter().zip(weights).map(|((_, at), weight)| at.denoised() * weight);
            // x̃′ = kept x̃ + Σ weight D + noise z, in x̃ = x / m.
            let next = denoised.fold(&x / from.mean * kept, |sum, d| sum + d) + z * noise;
            x = (next * to.mean).run()?;
            run.stepped(i + 1, to.t, &x)?;
        }
        Ok(run.sampled(x))
    }
}

/// One step in x̃: the factors of the state, of D at the last levels, newest first, and of the noise.
struct Coefficients {
    kept: f64,
    weights: Vec<f64>,
    noise: f64,
}

impl Coefficients {
    /// From the newest of the `levels` to `to`, with D a polynomial in λ through all of them.
    ///
    /// It is a step of the reverse-time SDE with its noise scaled by τ, dx̃ = −a x̃ dλ + a D dλ + noise with a = 1 + τ²
    /// (Lu 2022, eq. 5, for τ = 1; Xue 2023, SA-Solver). Up to 1, η is DDIM's (Song 2021a, eq. 16): 1 − e^(−2 τ² h) =
    /// η² (1 − e^(−2 h)). At 1 τ is 1 as well, and above it η is τ itself.
    fn new(levels: &[Level], to: Level, eta: f64) -> Coefficients {
        let ratio = to.sigma / levels[0].sigma;
        // e^(−2 τ² h), the share of the noise's variance that is not drawn anew.
        let old =
            if eta <= 1.0 { 1.0 - eta * eta * (1.0 - ratio * ratio) } else { ratio.powf(2.0 * eta * eta) };
        let (noise, kept) = (to.sigma * (1.0 - old).sqrt(), ratio * old.sqrt());
        if levels.len() == 1 {
            return Coefficients { kept, weights: vec![1.0 - kept], noise };
        }
        let a = if eta <= 1.0 { 1.0 + 0.5 * old.ln() / ratio.ln() } else { 1.0 + eta * eta };
        let since = |level: &Level| a * (level.lambda() - levels[0].lambda());
        let nodes: Vec<f64> = levels[1..].iter().map(since).collect();
        Coefficients { kept, weights: weights(since(&to), &nodes), noise }
    }
}

/// e^−h ∫ e^u D(u) du from 0 to `h` as factors of D(0) and of D at one or two further `nodes`: the integral of the polynomial
/// through them.
fn weights(h: f64, nodes: &[f64]) -> Vec<f64> {
    // Of 1, u and u², by parts.
    let whole = -(-h).exp_m1();
    let first = h - whole;
    let second = h * h - 2.0 * first;
    let further = match *nodes {
        [u, v] => vec![(second - v * first) / (u * (u - v)), (second - u * first) / (v * (v - u))],
        _ => nodes.iter().map(|u| first / u).collect(),
    };
    let newest = whole - further.iter().sum::<f64>();
    [vec![newest], further].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// e^−h ∫ e^u p(u) du by Simpson's rule.
    #[test]
    fn weights_integrate_polynomials_exactly() {
        let (h, nodes) = (0.7, [-0.4, -1.1]);
        for order in 1..=3 {
            let weights = weights(h, &nodes[..order - 1]);
            for power in 0..order as i32 {
                let n = 1000;
                let integrand = |i: i32| {
                    let u = h * f64::from(i) / f64::from(n);
                    (u - h).exp() * u.powi(power)
                };
                let simpson = (0..=n).map(|i| {
                    let weight = if i == 0 || i == n { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
                    weight * integrand(i) * h / f64::from(3 * n)
                });
                let exact: f64 = simpson.sum();
                let all = [&[0.0], &nodes[..order - 1]].concat();
                let sum: f64 = weights.iter().zip(&all).map(|(w, u)| w * u.powi(power)).sum();
                assert!((sum - exact).abs() < 1e-12, "order {order}, u^{power}: {sum}, not {exact}");
            }
        }
    }

    /// In float64, with D of a Gaussian of variance c, which the flow scales by √(c + σ²); from σ = 150 half-way to the data.
    #[test]
    fn each_order_is_seen_in_the_error() {
        let c: f64 = 0.3;
        let exact = |sigma: f64| (c + sigma * sigma).sqrt();
        let error = |order: usize, steps: usize| {
            let sigma = |i: usize| 150.0 * (0.5f64 / 150.0).powf(i as f64 / steps as f64);
            let levels: Vec<Level> =
                (0..=steps).map(|i| Level { t: 0.5, mean: 1.0, sigma: sigma(i) }).collect();
            let grid = Grid::new(&Sampling::default(), steps).unwrap();
            let solver = Multistep { grid, order, eta: 0.0 };
            let (mut x, mut seen) = (exact(150.0), Vec::new());
            for (i, pair) in levels.windows(2).enumerate() {
                seen.insert(0, (pair[0], c / (c + pair[0].sigma.powi(2)) * x));
                seen.truncate(solver.order_of(i));
                let levels: Vec<Level> = seen.iter().map(|(level, _)| *level).collect();
                let step = Coefficients::new(&levels, pair[1], 0.0);
                x = step.kept * x + seen.iter().zip(&step.weights).map(|((_, d), w)| d * w).sum::<f64>();
            }
            (x - exact(0.5)).abs()
        };
        for order in 1..=3 {
            let slope = (error(order, 100) / error(order, 200)).log2();
            assert!((slope - order as f64).abs() < 0.15, "order {order}: {slope}");
        }
    }

    /// η = 1 draws from the posterior of x̃′ given x̃ and x₀, whatever the process: DDIM's eq. 16.
    #[test]
    fn with_eta_1_a_step_is_ancestral() {
        let at = |sigma: f64| Level { t: 0.5, mean: 1.0, sigma };
        let step = Coefficients::new(&[at(2.0)], at(0.5), 1.0);
        let posterior = 0.25 * (4.0 - 0.25) / 4.0;
        assert!((step.noise * step.noise - posterior).abs() < 1e-12);
        assert!((step.kept - 0.25 / 4.0).abs() < 1e-12);
        // Of any order and η, the weights and what is kept add up to 1: a point mass stays where it is.
        for eta in [0.0, 0.4, 1.0, 1.5] {
            let step = Coefficients::new(&[at(2.0), at(3.0), at(5.0)], at(0.5), eta);
            assert!((step.kept + step.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }
}
