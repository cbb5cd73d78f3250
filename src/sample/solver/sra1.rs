//! A stochastic Runge–Kutta step of the reverse-time SDE: the method SRA1 for additive noise (Rößler 2010, SIAM J. Numer.
//! Anal. 48, section 6), of strong order 1.5 and weak order 2.
//!
//! From t to t − h, with k(x, t) = −f x + g² score the drift of the reversed time, w the Wiener process and
//! I = ∫ (w(r) − w(t)) dr over the step:
//!
//! H = x + ¾ h k(x, t) + 3/2 g(t − h) I / h,
//!
//! y = x + ⅓ h k(x, t) + ⅔ h k(H, t − ¾ h) + g(t − h) Δw + (g(t) − g(t − h)) I / h.
//!
//! Δw and I are normal with variances h and h³/3 and covariance h²/2: I = √(h³/3) u and Δw = √h (√3 u + v) / 2 with
//! independent standard normal u and v.

use super::predictor::Predictor;
use crate::kernels::combine::Form;
use crate::random::{Key, Purpose};
use crate::sample::error::Result;
use crate::sample::{Score, denoise};
use crate::sde::{Chain, Process, Transition};
use crate::tensor::Tensor;
use std::ops::{Add, Mul};

/// SRA1: two evaluations a step, to the next time of the grid itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sra1 {
    /// Follow the probability flow instead.
    pub probability_flow: bool,
}

impl Predictor for Sra1 {
    fn transition(&self, _: &Chain<'_>, _: f64) -> Option<Transition> {
        None
    }

    fn step(
        &self,
        score: &dyn Score,
        x: Tensor,
        chain: &Chain<'_>,
        t: f64,
        key: Option<Key>,
    ) -> Result<Tensor> {
        let Some(next) = chain.next_sampling_time(t) else {
            // At the grid's end the residual noise is left, or removed by Tweedie's formula.
            return if key.is_some() { Ok(x) } else { denoise(score, &x, t) };
        };
        let noise = key.filter(|_| !self.probability_flow).map(|key| {
            let increment = Key { purpose: Purpose::Increment, ..key };
            [Form::normal(key), Form::normal(increment)]
        });
        let score = |x: &Form, t: f64| Ok(score.at(&x.clone().run()?, &t.into())?.score());
        self.sra1(chain.process(), (t, next), Form::from(&x), score, noise)?.run().map_err(Into::into)
    }
}

/// Numbers, and forms of tensors.
trait Linear: Clone + Add<Output = Self> + Mul<f64, Output = Self> {}

impl<V: Clone + Add<Output = V> + Mul<f64, Output = V>> Linear for V {}

impl Sra1 {
    /// The step from `x` at `t` to `next`, with u and v.
    fn sra1<V: Linear>(
        &self,
        process: &dyn Process,
        (t, next): (f64, f64),
        x: V,
        score: impl Fn(&V, f64) -> Result<V>,
        noise: Option<[V; 2]>,
    ) -> Result<V> {
        let h = t - next;
        // The flow takes half of the score (Song 2021, eq. 13).
        let share = if self.probability_flow { 0.5 } else { 1.0 };
        let k = |x: &V, t: f64| -> Result<V> {
            let g2 = process.diffusion(t).powi(2);
            Ok(x.clone() * -process.drift(t) + score(x, t)? * (share * g2))
        };
        let (g, g_next) = (process.diffusion(t), process.diffusion(next));
        let k1 = k(&x, t)?;
        let Some([u, v]) = noise else {
            let stage = x.clone() + k1.clone() * (0.75 * h);
            return Ok(x + k1 * (h / 3.0) + k(&stage, t - 0.75 * h)? * (2.0 / 3.0 * h));
        };
        let i_over_h = u.clone() * (h / 3.0).sqrt();
        let dw = (u * 3f64.sqrt() + v) * (0.5 * h.sqrt());
        let stage = x.clone() + k1.clone() * (0.75 * h) + i_over_h.clone() * (1.5 * g_next);
        let k2 = k(&stage, t - 0.75 * h)?;
        Ok(x + k1 * (h / 3.0) + k2 * (2.0 / 3.0 * h) + dw * g_next + i_over_h * (g - g_next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::{Vp, process_tests::PROCESSES};

    fn grid(process: &dyn Process, n: usize) -> Vec<(f64, f64)> {
        let chain = Chain::new(process, n);
        chain.sampling_times().windows(2).map(|pair| (pair[0], pair[1])).collect()
    }

    /// Mean and standard deviation at the grid's last time for data N(μ, s²), whose score makes every step affine.
    fn moments(process: &dyn Process, n: usize, flow: bool, (mu, s): (f64, f64)) -> (f64, f64) {
        let method = Sra1 { probability_flow: flow };
        let at = |t| process.marginal_prob(t);
        let total = |t: f64| (at(t).mean * s).powi(2) + at(t).std.powi(2);
        let score = |x: &f64, t: f64| Ok(-(x - at(t).mean * mu) / total(t));
        let (mut mean, mut variance) = (at(1.0).mean * mu, total(1.0));
        for times in grid(process, n) {
            let of = |x, noise| method.sra1(process, times, x, score, (!flow).then_some(noise)).unwrap();
            let origin = of(0.0, [0.0; 2]);
            let slope = |x, noise| of(x, noise) - origin;
            variance = slope(1.0, [0.0; 2]).powi(2) * variance
                + slope(0.0, [1.0, 0.0]).powi(2)
                + slope(0.0, [0.0, 1.0]).powi(2);
            mean = of(mean, [0.0; 2]);
        }
        (mean, variance.sqrt())
    }

    #[test]
    fn the_method_has_weak_order_two() {
        let (mu, s) = (0.7, 0.3);
        for process in PROCESSES {
            let end = process.marginal_prob(process.sampling_eps());
            for flow in [false, true] {
                let error = |n: usize| {
                    let (mean, std) = moments(process, n, flow, (mu, s));
                    [mean - end.mean * mu, std - ((end.mean * s).powi(2) + end.std.powi(2)).sqrt()]
                };
                let (coarse, fine) = (error(500), error(1000));
                let size = |[mean, std]: [f64; 2]| mean.hypot(std);
                let order = (size(coarse) / size(fine)).log2();
                assert!((order - 2.0).abs() < 0.05, "{process:?}: order {order}");
                assert!(size(fine) < 2e-5, "{process:?}: {}", size(fine));
            }
        }
    }

    /// Wiener increments Δw and their integrals I over the steps of a path, and the same over steps twice as long.
    struct Path(Vec<[f64; 2]>);

    impl Path {
        fn new(number: u32, steps: usize, h: f64) -> Path {
            let key = Key::new(5, Purpose::Other(9));
            let pair = |i: usize| {
                let [u, v, ..] = key.normal(number, i as u32).map(f64::from);
                [h.sqrt() * (3f64.sqrt() * u + v) / 2.0, (h.powi(3) / 3.0).sqrt() * u]
            };
            Path((0..steps).map(pair).collect())
        }

        fn coarser(&self, h: f64) -> Path {
            let joined = |pair: &[[f64; 2]]| {
                let ([dw, i], [dw2, i2]) = (pair[0], pair[1]);
                [dw + dw2, i + i2 + h * dw]
            };
            Path(self.0.chunks(2).map(joined).collect())
        }

        /// u and v of a step.
        fn noise(&self, step: usize, h: f64) -> [f64; 2] {
            let [dw, i] = self.0[step];
            let u = i / (h.powi(3) / 3.0).sqrt();
            [u, 2.0 * dw / h.sqrt() - 3f64.sqrt() * u]
        }
    }

    /// The root mean square of the difference that halving the step makes on the same paths falls like h^1.5, and no slower,
    /// with a score that is not linear: data around ±½.
    #[test]
    fn the_method_has_strong_order_three_halves() {
        let process = Vp { beta_min: 1.0, beta_max: 2.0 };
        let at = |t| process.marginal_prob(t);
        let score = |x: &f64, t: f64| {
            let (m, variance) = (at(t).mean, (at(t).mean * 0.6).powi(2) + at(t).std.powi(2));
            let half = 0.5 * m;
            Ok((half * (x * half / variance).tanh() - x) / variance)
        };
        let method = Sra1 { probability_flow: false };
        let run = |path: &Path, start: f64| {
            grid(&process, path.0.len() + 1).iter().enumerate().fold(start, |x, (i, times)| {
                method.sra1(&process, *times, x, score, Some(path.noise(i, times.0 - times.1))).unwrap()
            })
        };
        let span = 1.0 - process.sampling_eps();
        let (finest, paths) = (4096, 400);
        let mut squares = [0.0; 3];
        for number in 0..paths {
            let start = f64::from(Key::new(5, Purpose::Prior).normal(number, 0)[0]);
            let mut path = Path::new(number, finest, span / finest as f64);
            let mut end = run(&path, start);
            for square in &mut squares {
                path = path.coarser(span / path.0.len() as f64);
                let coarse = run(&path, start);
                *square += (coarse - end).powi(2);
                end = coarse;
            }
        }
        let order = |i: usize| 0.5 * f64::log2(squares[i + 1] / squares[i]);
        assert!((0..2).all(|i| (1.4..1.6).contains(&order(i))), "orders {} and {}", order(0), order(1));
    }
}
