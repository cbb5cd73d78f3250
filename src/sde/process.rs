//! The trait of a forward process: two functions, and all that follows from them.

use super::{Chain, Discretised, Importance, Level, PosteriorVariance, Transition};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// The perturbation kernel at a time: x(t) | x(0) ~ N(mean · x(0), std² I).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Marginal {
    /// m, the factor of the data.
    pub mean: f64,
    /// s, the standard deviation of the noise.
    pub std: f64,
}

impl Marginal {
    /// The data without noise.
    pub const DATA: Marginal = Marginal { mean: 1.0, std: 0.0 };
}

/// A linear process dx = f(t) x dt + g(t) dw with x(t) | x(0) ~ N(m(t) x(0), s(t)² I), t in [0, 1].
///
/// [`log_mean`](Process::log_mean) and [`variance`](Process::variance) define it. What is provided follows from them,
/// numerically where there is no closed form: a process overrides it where it knows one.
///
/// ```
/// use tweedie::sde::Process;
///
/// /// The variance-preserving process of the cosine schedule (Nichol and Dhariwal 2021).
/// #[derive(Debug)]
/// struct Cosine;
///
/// impl Process for Cosine {
///     fn log_mean(&self, t: f64) -> f64 {
///         (0.995 * t * std::f64::consts::FRAC_PI_2).cos().ln()
///     }
///     fn variance(&self, t: f64) -> f64 {
///         (0.995 * t * std::f64::consts::FRAC_PI_2).sin().powi(2)
///     }
/// }
///
/// // f = d log m / dt, and time and noise level are inverses of each other.
/// assert!((Cosine.drift(0.5) + 1.5629 * (0.995 * std::f64::consts::FRAC_PI_4).tan()).abs() < 1e-3);
/// assert!((Cosine.time_of_sigma(Cosine.level(0.3).sigma) - 0.3).abs() < 1e-9);
/// ```
pub trait Process: Debug + Send + Sync {
    /// log m(t): 0 at t = 0, finite up to t = 1.
    fn log_mean(&self, t: f64) -> f64;

    /// s(t)², rising with t relative to m², and exact near 0: `exp_m1` in place of `exp(…) − 1`.
    fn variance(&self, t: f64) -> f64;

    /// The process's name in files and messages. Default: the name of its type.
    fn name(&self) -> &str {
        std::any::type_name::<Self>()
    }

    /// The perturbation kernel (Song 2021, eq. 29).
    fn marginal_prob(&self, t: f64) -> Marginal {
        Marginal { mean: self.log_mean(t).exp(), std: self.variance(t).sqrt() }
    }

    /// f(t) = d log m / dt, the factor of x in the drift.
    fn drift(&self, t: f64) -> f64 {
        derivative(&|t| self.log_mean(t), t)
    }

    /// g(t) = √(ds²/dt − 2 f s²), from the moment equation of a linear SDE.
    fn diffusion(&self, t: f64) -> f64 {
        let rate = derivative(&|t| self.variance(t), t);
        (rate - 2.0 * self.drift(t) * self.variance(t)).max(0.0).sqrt()
    }

    /// β(t) = −2 f(t), the rate at which the signal's power decays.
    fn beta(&self, t: f64) -> f64 {
        -2.0 * self.drift(t)
    }

    /// The standard deviation of the prior, which has mean 0.
    fn prior_std(&self) -> f64 {
        self.marginal_prob(1.0).std
    }

    /// log p of the prior at a point of `dimensions` with this squared norm, in nats.
    fn prior_logp(&self, dimensions: usize, squared_norm: f64) -> f64 {
        let variance = self.prior_std().powi(2);
        -0.5 * (dimensions as f64 * (std::f64::consts::TAU * variance).ln() + squared_norm / variance)
    }

    /// ε, the time at which reverse processes end: closer to the data the score is not learnt well.
    fn sampling_eps(&self) -> f64 {
        1e-3
    }

    /// The time at which s / m = `sigma`; below 0 or above 1, or one of these ends, if there is none between.
    fn time_of_sigma(&self, sigma: f64) -> f64 {
        // Bisection, until no number lies between: σ rises with t.
        let (mut low, mut high) = (0.0, 1.0);
        if self.level(high).sigma <= sigma {
            return high;
        }
        loop {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                return low;
            }
            if self.level(middle).sigma <= sigma { low = middle } else { high = middle }
        }
    }

    /// The noise level at a time.
    fn level(&self, t: f64) -> Level {
        let Marginal { mean, std } = self.marginal_prob(t);
        Level { t, mean, sigma: std / mean }
    }

    /// The level with noise `sigma`, any that the process reaches from t = 0 on.
    fn level_of(&self, sigma: f64) -> Level {
        self.level(self.time_of_sigma(sigma))
    }

    /// The level with noise `sigma`, if the process reaches it between t = ε and t = 1 (exclusive). A σ within 0.1 % of the
    /// smallest level is snapped to it, because VE's σ(ε) lies about 1e-4 above its nominal σ_min.
    fn level_within(&self, sigma: f64) -> Option<Level> {
        let (least, prior) = (self.level(self.sampling_eps()), self.level(1.0));
        if (sigma / least.sigma - 1.0).abs() < 1e-3 {
            return Some(least);
        }
        (least.sigma..prior.sigma).contains(&sigma).then(|| self.level_of(sigma))
    }

    /// The distribution of times on [eps, 1] with a density proportional to g² / s², the likelihood weighting of the noise's
    /// squared error (Song 2021b, appendix A).
    fn importance(&self, eps: f64) -> Importance {
        Importance::new(self.level(eps).sigma, self.level(1.0).sigma)
    }

    /// βᵢ of DDPM's chain, β(tᵢ) / n. Where β(1) / n reaches 1 (few steps), 1 − exp(−βᵢ): the share of the variance that
    /// the process itself removes in a step.
    fn chain_beta(&self, chain: &Chain<'_>, i: usize) -> f64 {
        let n = chain.n() as f64;
        let beta = self.beta(chain.time(i)) / n;
        if self.beta(1.0) < n { beta } else { -(-beta).exp_m1() }
    }

    /// The step from index `i − 1` to `i` of a chain, 0 ≤ i < n. Default: Euler–Maruyama with dt = 1 / n.
    fn discretize(&self, chain: &Chain<'_>, i: usize) -> Discretised {
        let (t, dt) = (chain.time(i), 1.0 / chain.n() as f64);
        Discretised { drift: self.drift(t) * dt, diffusion: self.diffusion(t) * dt.sqrt() }
    }

    /// The ancestral step from index `i` to `i − 1` of a chain, at i = 0 to the data. Default: the posterior of the state
    /// below given x and the mean of x₀ given x, whatever `variance`.
    fn ancestral(&self, chain: &Chain<'_>, i: usize, _: PosteriorVariance) -> Transition {
        let now = self.marginal_prob(chain.time(i));
        let below = if i == 0 { Marginal::DATA } else { self.marginal_prob(chain.time(i - 1)) };
        // N(r v₋ / v x + m₋ v′ / v x₀, v₋ v′ / v) with r = m / m₋ and v′ = v − r² v₋, x₀ by Tweedie's formula.
        let (v, below_v) = (now.std.powi(2).max(f64::MIN_POSITIVE), below.std.powi(2));
        let ratio = now.mean / below.mean;
        let between = (v - ratio * ratio * below_v).max(0.0);
        let of_x0 = below.mean * between / v / now.mean;
        Transition { x: ratio * below_v / v + of_x0, score: of_x0 * v, noise: (below_v * between / v).sqrt() }
    }
}

/// The derivative of a function on [0, 1], by the polynomial through five points around `t`, all inside.
fn derivative(f: &dyn Fn(f64) -> f64, t: f64) -> f64 {
    const H: f64 = 1e-4;
    let first = (t - 2.0 * H).clamp(0.0, 1.0 - 4.0 * H);
    let nodes: [f64; 5] = std::array::from_fn(|i| first + i as f64 * H);
    let values = nodes.map(f);
    // Σᵢ f(xᵢ) ℓᵢ′(t) with ℓᵢ′(t) = Σ_{j ≠ i} Π_{k ≠ i, j} (t − x_k) / Π_{k ≠ i} (xᵢ − x_k); differences of values, so that
    // a large constant does not cancel.
    let slope = |i: usize| -> f64 {
        let others = || (0..5).filter(move |k| *k != i);
        let below: f64 = others().map(|k| nodes[i] - nodes[k]).product();
        let above: f64 =
            others().map(|j| others().filter(|k| *k != j).map(|k| t - nodes[k]).product::<f64>()).sum();
        above / below
    };
    (0..5).map(|i| slope(i) * (values[i] - values[2])).sum()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sde::{SubVp, Ve, Vp, bits_per_dim};

    pub(crate) const VE: Ve = Ve { sigma_min: 0.01, sigma_max: 10.0 };
    pub(crate) const VP: Vp = Vp { beta_min: 0.1, beta_max: 20.0 };
    pub(crate) const SUB_VP: SubVp = SubVp { beta_min: 0.1, beta_max: 20.0 };
    /// One of each kind.
    pub(crate) const PROCESSES: [&dyn Process; 3] = [&VE, &VP, &SUB_VP];

    /// A process of which nothing is known but its two functions.
    #[derive(Debug)]
    struct Bare(&'static dyn Process);

    impl Process for Bare {
        fn log_mean(&self, t: f64) -> f64 {
            self.0.log_mean(t)
        }

        fn variance(&self, t: f64) -> f64 {
            self.0.variance(t)
        }
    }

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance * b.abs().max(1e-300), "{a} is not {b}");
    }

    #[test]
    fn what_follows_from_two_functions_is_what_the_closed_forms_say() {
        for process in PROCESSES {
            let bare = Bare(process);
            for t in [1e-5, 1e-3, 0.1, 0.37, 0.5, 0.9, 0.999, 1.0] {
                assert!((bare.drift(t) - process.drift(t)).abs() < 1e-8 * (1.0 + process.drift(t).abs()));
                close(bare.diffusion(t), process.diffusion(t), 1e-6);
                assert_eq!(bare.marginal_prob(t).mean, process.marginal_prob(t).mean);
                close(bare.marginal_prob(t).std, process.marginal_prob(t).std, 1e-15);
                let sigma = process.level(t).sigma;
                close(bare.time_of_sigma(sigma), t, 1e-9);
                close(process.time_of_sigma(sigma), t, 1e-9);
            }
            // The prior of VP and sub-VP is named N(0, I), from which s(1) differs by 4e-5.
            close(bare.prior_std(), process.prior_std(), 1e-4);
            close(bare.importance(1e-5).total(), process.importance(1e-5).total(), 1e-12);
        }
    }

    /// d(s²)/dt = 2 f s² + g², d(log m)/dt = f: what defines the perturbation kernel of a linear SDE.
    #[test]
    fn the_marginals_solve_the_moment_equations() {
        for process in PROCESSES {
            for t in [0.01, 0.1, 0.37, 0.5, 0.9, 0.99] {
                let h = 1e-5;
                let at = |t: f64| process.marginal_prob(t);
                let variance_rate = (at(t + h).std.powi(2) - at(t - h).std.powi(2)) / (2.0 * h);
                let expected = 2.0 * process.drift(t) * at(t).std.powi(2) + process.diffusion(t).powi(2);
                assert!(
                    (variance_rate - expected).abs() < 1e-5 * (1.0 + process.diffusion(t).powi(2)),
                    "{process:?} at {t}"
                );
                let mean_rate = (at(t + h).mean.ln() - at(t - h).mean.ln()) / (2.0 * h);
                assert!((mean_rate - process.drift(t)).abs() < 1e-5, "{process:?} at {t}");
            }
        }
    }

    #[test]
    fn the_ends_are_the_data_and_the_prior() {
        close(VE.marginal_prob(0.0).std, 0.01, 1e-12);
        close(VE.marginal_prob(1.0).std, 10.0, 1e-12);
        for process in [&VP as &dyn Process, &SUB_VP] {
            assert_eq!(process.marginal_prob(0.0), Marginal::DATA);
            let end = process.marginal_prob(1.0);
            assert!(end.mean < 0.007 && (end.std - 1.0).abs() < 1e-4);
        }
        // sub-VP's variance is the square of VP's: always less.
        close(SUB_VP.marginal_prob(0.3).std, VP.marginal_prob(0.3).std.powi(2), 1e-12);
    }

    /// d(σ²)/dt = (g / m)²: in the coordinates x / m the process adds noise and nothing else.
    #[test]
    fn the_variance_grows_by_the_noise_alone() {
        for process in PROCESSES {
            for t in [0.01, 0.3, 0.8] {
                let h = 1e-6;
                let square = |t: f64| process.level(t).sigma.powi(2);
                let rate = (square(t + h) - square(t - h)) / (2.0 * h);
                let expected = (process.diffusion(t) / process.level(t).mean).powi(2);
                assert!((rate / expected - 1.0).abs() < 1e-6, "{process:?} at {t}: {rate}, not {expected}");
            }
        }
    }

    #[test]
    fn a_level_is_found_within_the_process_and_nowhere_else() {
        assert!((VE.level_within(0.3).unwrap().sigma - 0.3).abs() < 1e-12);
        // σ_min itself is the level at ε, which lies 1e-4 above it.
        assert_eq!(VE.level_within(0.01), Some(VE.level(VE.sampling_eps())));
        assert_eq!([0.005, 10.0, 80.0].map(|sigma| VE.level_within(sigma)), [None; 3]);
        assert_eq!(VP.time_of_sigma(0.0), 0.0);
        assert_eq!(Vp { beta_min: 0.0, beta_max: 20.0 }.time_of_sigma(0.0), 0.0);
    }

    #[test]
    fn the_prior_is_a_normalised_gaussian() {
        let one = Ve { sigma_min: 0.1, sigma_max: 2.0 };
        let step = 0.001;
        let mass: f64 =
            (-20_000..20_000).map(|i| one.prior_logp(1, (f64::from(i) * step).powi(2)).exp() * step).sum();
        close(mass, 1.0, 1e-6);
        close(bits_per_dim(std::f64::consts::LN_2 * 3.0, 3), 1.0, 1e-12);
    }
}
