//! The forward processes: variance exploding, variance preserving and sub-variance preserving (Song 2021, section 3.4
//! and appendix B), in float64. Time runs from 0, the data, to 1, the prior.
//!
//! Every one of them is dx = f(t) x dt + g(t) dw with x(t) | x(0) ~ N(m(t) x(0), s(t)² I): numbers for each time, no
//! arrays.

mod chain;
mod level;
mod noise_scales;
mod normal;
mod times;

pub(crate) use chain::half_level;
pub use chain::{Chain, PosteriorVariance};
pub use level::Level;
pub use noise_scales::{Ladder, OVERLAP, langevin_eps, langevin_variance};
pub use normal::log_mass;
pub use times::Importance;

use std::f64::consts::LN_2;

/// A forward process with its discretisation into `n` steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sde {
    /// Which process.
    pub kind: SdeKind,
    /// Steps of its discretisation: `model.num_scales`.
    pub n: usize,
}

/// The three processes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SdeKind {
    /// Variance exploding: σ(t) = σ_min (σ_max / σ_min)^t.
    Ve {
        /// The smallest standard deviation.
        sigma_min: f64,
        /// The largest standard deviation.
        sigma_max: f64,
    },
    /// Variance preserving: β(t) = β_min + t (β_max − β_min).
    Vp {
        /// β(0).
        beta_min: f64,
        /// β(1).
        beta_max: f64,
    },
    /// Sub-variance preserving, with the same β(t).
    SubVp {
        /// β(0).
        beta_min: f64,
        /// β(1).
        beta_max: f64,
    },
}

/// The perturbation kernel at a time: x(t) | x(0) ~ N(mean · x(0), std² I).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Marginal {
    /// Factor of the data.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
}

/// One step of a discretisation: xᵢ₊₁ = xᵢ + drift · xᵢ + diffusion · z.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Discretised {
    /// Factor of the state.
    pub drift: f64,
    /// Factor of the noise.
    pub diffusion: f64,
}

impl Sde {
    /// f(t), the factor of x in the drift (Song 2021, eqs. 30, 32, 34).
    pub fn drift(&self, t: f64) -> f64 {
        match self.kind {
            SdeKind::Ve { .. } => 0.0,
            SdeKind::Vp { .. } | SdeKind::SubVp { .. } => -0.5 * self.beta(t),
        }
    }

    /// g(t) (Song 2021, eqs. 30, 32, 34).
    pub fn diffusion(&self, t: f64) -> f64 {
        match self.kind {
            SdeKind::Ve { sigma_min, sigma_max } => {
                self.marginal_prob(t).std * (2.0 * (sigma_max / sigma_min).ln()).sqrt()
            }
            SdeKind::Vp { .. } => self.beta(t).sqrt(),
            // 1 − exp(−2 ∫β): expm1 keeps it exact near 0.
            SdeKind::SubVp { .. } => (self.beta(t) * -(4.0 * self.log_mean(t)).exp_m1()).sqrt(),
        }
    }

    /// The perturbation kernel at `t` (Song 2021, eq. 29). The reference's σ(t) for VE, whose variance at 0 is σ_min²
    /// and not 0.
    pub fn marginal_prob(&self, t: f64) -> Marginal {
        match self.kind {
            SdeKind::Ve { sigma_min, sigma_max } => {
                Marginal { mean: 1.0, std: sigma_min * (sigma_max / sigma_min).powf(t) }
            }
            SdeKind::Vp { .. } => {
                let log_mean = self.log_mean(t);
                Marginal { mean: log_mean.exp(), std: (-(2.0 * log_mean).exp_m1()).sqrt() }
            }
            SdeKind::SubVp { .. } => {
                let log_mean = self.log_mean(t);
                Marginal { mean: log_mean.exp(), std: -(2.0 * log_mean).exp_m1() }
            }
        }
    }

    /// The standard deviation of the prior, which has mean 0.
    pub fn prior_std(&self) -> f64 {
        match self.kind {
            SdeKind::Ve { sigma_max, .. } => sigma_max,
            SdeKind::Vp { .. } | SdeKind::SubVp { .. } => 1.0,
        }
    }

    /// log p of the prior at a point of `dimensions` with this squared norm, in nats.
    pub fn prior_logp(&self, dimensions: usize, squared_norm: f64) -> f64 {
        let variance = self.prior_std().powi(2);
        -0.5 * (dimensions as f64 * (std::f64::consts::TAU * variance).ln() + squared_norm / variance)
    }

    /// The time down to which the reverse process is run: the score of less is not learnt well.
    pub fn sampling_eps(&self) -> f64 {
        match self.kind {
            SdeKind::Ve { .. } => 1e-5,
            SdeKind::Vp { .. } | SdeKind::SubVp { .. } => 1e-3,
        }
    }

    /// The step from index `i − 1` to `i` of the reference's discretisation, 0 ≤ i < n: DDPM's chain for VP, NCSN's for
    /// VE, Euler–Maruyama with dt = 1 / n for sub-VP (Song 2021, appendix E).
    pub fn discretize(&self, i: usize) -> Discretised {
        match self.kind {
            SdeKind::Ve { .. } => {
                let below = if i == 0 { 0.0 } else { self.discrete_sigma(i - 1) };
                let variance = self.discrete_sigma(i).powi(2) - below.powi(2);
                Discretised { drift: 0.0, diffusion: variance.max(0.0).sqrt() }
            }
            SdeKind::Vp { .. } => {
                let beta = self.discrete_beta(i);
                Discretised { drift: (1.0 - beta).sqrt() - 1.0, diffusion: beta.sqrt() }
            }
            SdeKind::SubVp { .. } => {
                let (t, dt) = (self.time(i), 1.0 / self.n as f64);
                Discretised { drift: self.drift(t) * dt, diffusion: self.diffusion(t) * dt.sqrt() }
            }
        }
    }

    /// The times at which a sampler of `n` steps makes them: from 1 down to the process's ε, both included.
    pub fn sampling_times(&self) -> impl Iterator<Item = f64> + use<> {
        let (eps, n) = (self.sampling_eps(), self.n);
        (0..n).map(move |i| 1.0 + (eps - 1.0) * i as f64 / (n - 1).max(1) as f64)
    }

    /// The time after `t` on that grid; none after the last.
    pub fn next_sampling_time(&self, t: f64) -> Option<f64> {
        let (eps, n) = (self.sampling_eps(), self.n);
        let step = (1.0 - eps) / (n - 1).max(1) as f64;
        (t - eps > 0.5 * step).then(|| (t - step).max(eps))
    }

    /// The index that belongs to a time: ⌊t (n − 1)⌋, rounding forgiven.
    pub fn index(&self, t: f64) -> usize {
        ((t * (self.n - 1) as f64 + 1e-6).floor().max(0.0) as usize).min(self.n - 1)
    }

    /// The time that belongs to an index.
    pub fn time(&self, i: usize) -> f64 {
        if self.n == 1 { 1.0 } else { i as f64 / (self.n - 1) as f64 }
    }

    /// σᵢ of the ladder of `n`, ascending (VE).
    pub fn discrete_sigma(&self, i: usize) -> f64 {
        self.marginal_prob(self.time(i)).std
    }

    /// βᵢ of DDPM's chain, from β_min / n to β_max / n (VP, sub-VP; 0 for VE). With so few steps that these would reach 1,
    /// 1 − exp(−βᵢ), what the process itself takes away of the variance in a step.
    pub fn discrete_beta(&self, i: usize) -> f64 {
        let beta = self.beta(self.time(i)) / self.n as f64;
        if self.beta(1.0) < self.n as f64 { beta } else { -(-beta).exp_m1() }
    }

    /// √ᾱᵢ and √(1 − ᾱᵢ) of DDPM's chain, for every i.
    pub fn discrete_marginals(&self) -> Vec<Marginal> {
        let mut product = 1.0;
        (0..self.n)
            .map(|i| {
                product *= 1.0 - self.discrete_beta(i);
                Marginal { mean: f64::sqrt(product), std: f64::sqrt(1.0 - product) }
            })
            .collect()
    }

    /// α of the Langevin corrector at a time: 1 for VE, 1 − βᵢ of the chain for VP and sub-VP (Song 2021, algorithms 4
    /// and 5).
    pub fn corrector_alpha(&self, t: f64) -> f64 {
        match self.kind {
            SdeKind::Ve { .. } => 1.0,
            SdeKind::Vp { .. } | SdeKind::SubVp { .. } => 1.0 - self.discrete_beta(self.index(t)),
        }
    }

    /// β(t); 0 for VE.
    fn beta(&self, t: f64) -> f64 {
        match self.kind {
            SdeKind::Ve { .. } => 0.0,
            SdeKind::Vp { beta_min, beta_max } | SdeKind::SubVp { beta_min, beta_max } => {
                beta_min + t * (beta_max - beta_min)
            }
        }
    }

    /// log m(t) = −½ ∫β; 0 for VE.
    fn log_mean(&self, t: f64) -> f64 {
        match self.kind {
            SdeKind::Ve { .. } => 0.0,
            SdeKind::Vp { beta_min, beta_max } | SdeKind::SubVp { beta_min, beta_max } => {
                -0.25 * t * t * (beta_max - beta_min) - 0.5 * t * beta_min
            }
        }
    }
}

/// Nats of a sample of `dimensions` → bits per dimension.
pub fn bits_per_dim(nats: f64, dimensions: usize) -> f64 {
    nats / (dimensions as f64 * LN_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VE: Sde = Sde { kind: SdeKind::Ve { sigma_min: 0.01, sigma_max: 50.0 }, n: 1000 };
    const VP: Sde = Sde { kind: SdeKind::Vp { beta_min: 0.1, beta_max: 20.0 }, n: 1000 };
    const SUBVP: Sde = Sde { kind: SdeKind::SubVp { beta_min: 0.1, beta_max: 20.0 }, n: 1000 };

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance * b.abs().max(1e-300), "{a} is not {b}");
    }

    /// d(s²)/dt = 2 f s² + g², d(log m)/dt = f: what defines the perturbation kernel of a linear SDE.
    #[test]
    fn the_marginals_solve_the_moment_equations() {
        for sde in [VE, VP, SUBVP] {
            for t in [0.01, 0.1, 0.37, 0.5, 0.9, 0.99] {
                let h = 1e-5;
                let at = |t: f64| sde.marginal_prob(t);
                let variance_rate = (at(t + h).std.powi(2) - at(t - h).std.powi(2)) / (2.0 * h);
                let expected = 2.0 * sde.drift(t) * at(t).std.powi(2) + sde.diffusion(t).powi(2);
                assert!(
                    (variance_rate - expected).abs() < 1e-5 * (1.0 + sde.diffusion(t).powi(2)),
                    "{sde:?} at {t}"
                );
                let mean_rate = (at(t + h).mean.ln() - at(t - h).mean.ln()) / (2.0 * h);
                assert!((mean_rate - sde.drift(t)).abs() < 1e-5, "{sde:?} at {t}");
            }
        }
    }

    #[test]
    fn the_ends_are_the_data_and_the_prior() {
        close(VE.marginal_prob(0.0).std, 0.01, 1e-12);
        close(VE.marginal_prob(1.0).std, 50.0, 1e-12);
        for sde in [VP, SUBVP] {
            assert_eq!(sde.marginal_prob(0.0), Marginal { mean: 1.0, std: 0.0 });
            let end = sde.marginal_prob(1.0);
            assert!(end.mean < 0.007 && (end.std - 1.0).abs() < 1e-4);
        }
        // sub-VP's variance is the square of VP's: always less.
        close(SUBVP.marginal_prob(0.3).std, VP.marginal_prob(0.3).std.powi(2), 1e-12);
    }

    #[test]
    fn the_ve_ladder_is_geometric_and_its_steps_add_up() {
        close(VE.discrete_sigma(0), 0.01, 1e-12);
        close(VE.discrete_sigma(999), 50.0, 1e-12);
        close(
            VE.discrete_sigma(500) / VE.discrete_sigma(499),
            VE.discrete_sigma(2) / VE.discrete_sigma(1),
            1e-9,
        );
        let total: f64 = (0..1000).map(|i| VE.discretize(i).diffusion.powi(2)).sum();
        close(total, 2500.0, 1e-9);
    }

    #[test]
    fn the_vp_chain_follows_the_process() {
        close(VP.discrete_beta(0), 1e-4, 1e-12);
        close(VP.discrete_beta(999), 0.02, 1e-12);
        let chain = VP.discrete_marginals();
        close(chain[499].mean, VP.marginal_prob(0.5).mean, 0.02);
        close(VP.discretize(999).drift, (1.0f64 - 0.02).sqrt() - 1.0, 1e-12);
    }

    /// At 20 steps of the usual process β_max / n is 1, and a reverse step would divide by 0.
    #[test]
    fn a_chain_of_few_steps_leaves_something_of_its_image() {
        for n in [5, 20, 21] {
            let few = Sde { n, ..VP };
            let betas: Vec<f64> = (0..n).map(|i| few.discrete_beta(i)).collect();
            assert!(betas.is_sorted() && betas.iter().all(|beta| (0.0..1.0).contains(beta)), "{betas:?}");
        }
        let few = Sde { n: 20, ..VP };
        close(few.discrete_marginals()[19].mean, VP.marginal_prob(1.0).mean, 0.05);
    }

    #[test]
    fn every_time_of_the_sampling_grid_finds_its_index() {
        for (sde, eps) in [(VE, 1e-5), (VP, 1e-3), (SUBVP, 1e-3)] {
            let n = sde.n;
            for i in 0..n {
                let t = 1.0 + (eps - 1.0) * i as f64 / (n - 1) as f64;
                assert_eq!(sde.index(t), n - 1 - i, "{t}");
            }
        }
        assert_eq!(VE.index(0.0), 0);
        assert_eq!(VE.index(1.0), 999);
    }

    #[test]
    fn the_prior_is_a_normalised_gaussian() {
        let one = Sde { kind: SdeKind::Ve { sigma_min: 0.1, sigma_max: 2.0 }, n: 10 };
        let step = 0.001;
        let mass: f64 =
            (-20_000..20_000).map(|i| one.prior_logp(1, (f64::from(i) * step).powi(2)).exp() * step).sum();
        close(mass, 1.0, 1e-6);
        close(bits_per_dim(LN_2 * 3.0, 3), 1.0, 1e-12);
    }
}
