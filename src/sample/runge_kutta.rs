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

use super::score::Score;
use super::step::Step;
use crate::kernels::{Result, sde_step::sde_step};
use crate::random::{Key, Purpose};
use crate::sde::Sde;
use crate::tensor::Tensor;

/// The step's coefficients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RungeKutta {
    /// t and t − ¾ h.
    times: [f64; 2],
    /// H of the state, its score and u.
    stage: Step,
    /// What y takes of the state and of its score.
    first: [f64; 2],
    /// What y takes of H and of its score.
    second: [f64; 2],
    /// What y takes of u and v besides.
    noise: [f64; 2],
}

impl RungeKutta {
    /// The step from a time to a later one of the reverse process. Of the score, the probability flow takes half, and no noise.
    pub(super) fn new(sde: &Sde, (t, next): (f64, f64), probability_flow: bool) -> RungeKutta {
        let h = t - next;
        let middle = t - 0.75 * h;
        let (share, noisy) = if probability_flow { (0.5, 0.0) } else { (1.0, h.sqrt()) };
        // What a drift over a time h is of the state and of its score.
        let drift = |t: f64, h: f64| [-sde.drift(t) * h, share * sde.diffusion(t).powi(2) * h];
        let (g, g_next) = (sde.diffusion(t), sde.diffusion(next));
        let [a, b] = drift(t, 0.75 * h);
        let [of_x, of_score] = drift(t, h / 3.0);
        let root = 3f64.sqrt();
        RungeKutta {
            times: [t, middle],
            stage: Step { a: 1.0 + a, b, c: noisy * 0.5 * root * g_next },
            first: [1.0 + of_x, of_score],
            second: drift(middle, 2.0 / 3.0 * h),
            noise: [noisy * (0.5 * root * g_next + (g - g_next) / root), noisy * 0.5 * g_next],
        }
    }

    /// The step from states `[n, h, w, c]`; without noise if there is no key, which is that of u. Nothing that is drawn is
    /// stored: y takes H's part of u by drawing it again.
    pub(super) fn run(self, score: &dyn Score, x: &Tensor, key: Option<Key>) -> Result<Tensor> {
        let [now, middle] = self.times.map(|t| score.label(t));
        let drawn = |c: f64, purpose: Option<Purpose>| {
            let key = key.map(|key| Key { purpose: purpose.unwrap_or(key.purpose), ..key });
            key.map(|key| (c, key)).filter(|(c, _)| *c != 0.0)
        };
        let n = x.shape().n();
        let net = score.network(x, &vec![now; n])?;
        // Of the state and of the network's output: once for H, once for y.
        let of = |[x, s]: [f64; 2]| [x + s * now.score.x, s * now.score.net];
        let stage = of([self.stage.a, self.stage.b]);
        let state = sde_step(&[(x, stage[0]), (&net, stage[1])], drawn(self.stage.c, None))?;
        let net_at_stage = score.network(&state, &vec![middle; n])?;
        let first = of(self.first);
        let of_stage = self.second[0] + self.second[1] * middle.score.x;
        let terms = [
            (x, first[0] + of_stage * stage[0]),
            (&net, first[1] + of_stage * stage[1]),
            (&net_at_stage, self.second[1] * middle.score.net),
        ];
        let y = sde_step(&terms, drawn(self.noise[0] + of_stage * self.stage.c, None))?;
        match drawn(self.noise[1], Some(Purpose::Increment)) {
            None => Ok(y),
            rest => sde_step(&[(&y, 1.0)], rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::SdeKind;

    const KINDS: [SdeKind; 3] = [
        SdeKind::Ve { sigma_min: 0.01, sigma_max: 10.0 },
        SdeKind::Vp { beta_min: 0.1, beta_max: 20.0 },
        SdeKind::SubVp { beta_min: 0.1, beta_max: 20.0 },
    ];

    /// The step of a state with a given score, u and v, on the host.
    fn step(method: &RungeKutta, x: f64, score: impl Fn(f64, f64) -> f64, [u, v]: [f64; 2]) -> f64 {
        let RungeKutta { times: [now, middle], stage, first, second, noise } = method;
        let s = score(x, *now);
        let at_stage = stage.a * x + stage.b * s + stage.c * u;
        let s_at_stage = score(at_stage, *middle);
        first[0] * x
            + first[1] * s
            + second[0] * at_stage
            + second[1] * s_at_stage
            + noise[0] * u
            + noise[1] * v
    }

    fn steps(kind: SdeKind, n: usize) -> Vec<(f64, f64)> {
        let sde = Sde { kind, n };
        sde.sampling_times().filter_map(|t| Some((t, sde.next_sampling_time(t)?))).collect()
    }

    /// Mean and standard deviation at the grid's last time for data N(μ, s²), whose score makes every step affine.
    fn moments(kind: SdeKind, n: usize, flow: bool, (mu, s): (f64, f64)) -> (f64, f64) {
        let sde = Sde { kind, n };
        let at = |t| sde.marginal_prob(t);
        let total = |t: f64| (at(t).mean * s).powi(2) + at(t).std.powi(2);
        let score = |x: f64, t: f64| -(x - at(t).mean * mu) / total(t);
        let (mut mean, mut variance) = (at(1.0).mean * mu, total(1.0));
        for times in steps(kind, n) {
            let method = RungeKutta::new(&sde, times, flow);
            let of = |x, noise| step(&method, x, score, noise);
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
        for kind in KINDS {
            let end = Sde { kind, n: 2 };
            let end = end.marginal_prob(end.sampling_eps());
            for flow in [false, true] {
                let error = |n: usize| {
                    let (mean, std) = moments(kind, n, flow, (mu, s));
                    [mean - end.mean * mu, std - ((end.mean * s).powi(2) + end.std.powi(2)).sqrt()]
                };
                let (coarse, fine) = (error(500), error(1000));
                let size = |[mean, std]: [f64; 2]| mean.hypot(std);
                let order = (size(coarse) / size(fine)).log2();
                assert!((order - 2.0).abs() < 0.05, "{kind:?}: order {order}");
                assert!(size(fine) < 2e-5, "{kind:?}: {}", size(fine));
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
        let kind = SdeKind::Vp { beta_min: 1.0, beta_max: 2.0 };
        let at = |t| Sde { kind, n: 2 }.marginal_prob(t);
        let score = |x: f64, t: f64| {
            let (m, variance) = (at(t).mean, (at(t).mean * 0.6).powi(2) + at(t).std.powi(2));
            let half = 0.5 * m;
            (half * (x * half / variance).tanh() - x) / variance
        };
        let run = |path: &Path, start: f64| {
            let n = path.0.len();
            steps(kind, n + 1).iter().enumerate().fold(start, |x, (i, times)| {
                let method = RungeKutta::new(&Sde { kind, n }, *times, false);
                step(&method, x, score, path.noise(i, times.0 - times.1))
            })
        };
        let span = 1.0 - Sde { kind, n: 2 }.sampling_eps();
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
