//! DDPM's chain and its variational bound (Ho 2020, sections 2 and 3), in nats: numbers for each step, no arrays.
//!
//! Steps count from 0 as the code's do, so that step i is the paper's t = i + 1.

use super::normal::log_mass;
use super::{Chain, Marginal};
use crate::choice::choices;

choices! {
    /// The variance σ² of the steps of the reverse process (Ho 2020, section 3.2).
    pub enum PosteriorVariance = Beta {
        /// β, optimal for x₀ ~ N(0, I).
        Beta = "beta",
        /// β̃, optimal for a known x₀.
        BetaTilde = "beta_tilde",
    }
}

/// DDPM's chain of a process, and the terms of the bound of its reverse.
#[derive(Debug, Clone, PartialEq)]
pub struct DdpmChain {
    betas: Vec<f64>,
    marginals: Vec<Marginal>,
}

impl DdpmChain {
    /// From a variance preserving process cut into steps.
    pub fn new(chain: Chain<'_>) -> DdpmChain {
        DdpmChain {
            betas: (0..chain.n()).map(|i| chain.beta(i)).collect(),
            marginals: chain.ddpm_marginals(),
        }
    }

    /// Steps.
    pub fn len(&self) -> usize {
        self.betas.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.betas.is_empty()
    }

    /// √ᾱ and √(1 − ᾱ) of a step.
    pub fn marginal(&self, i: usize) -> Marginal {
        self.marginals[i]
    }

    /// β̃, the variance of q(xₜ₋₁ | xₜ, x₀) (Ho 2020, eq. 7): 0 of the first step.
    pub fn posterior_variance(&self, i: usize) -> f64 {
        let before = if i == 0 { 0.0 } else { self.marginals[i - 1].std.powi(2) };
        before / self.marginals[i].std.powi(2) * self.betas[i]
    }

    /// σ² of the reverse step i. The decoder's (i = 0) is β̃ of the second step in either case, as in the authors' code:
    /// its own β̃ is 0.
    pub fn variance(&self, i: usize, kind: PosteriorVariance) -> f64 {
        match (i, kind) {
            (0, _) => self.posterior_variance(1.min(self.len() - 1)).max(f64::MIN_POSITIVE),
            (_, PosteriorVariance::Beta) => self.betas[i],
            (_, PosteriorVariance::BetaTilde) => self.posterior_variance(i),
        }
    }

    /// The weight of ‖ε − ε_θ‖² in the divergence of step i ≥ 1 (Ho 2020, eq. 12).
    pub fn error_weight(&self, i: usize, kind: PosteriorVariance) -> f64 {
        let beta = self.betas[i];
        beta * beta / (2.0 * self.variance(i, kind) * (1.0 - beta) * self.marginals[i].std.powi(2))
    }

    /// The divergence of step i ≥ 1 per dimension if ε is predicted exactly: that of N(µ, β̃) from N(µ, σ²).
    pub fn variance_divergence(&self, i: usize, kind: PosteriorVariance) -> f64 {
        let ratio = self.posterior_variance(i) / self.variance(i, kind);
        0.5 * (ratio - 1.0 - ratio.ln())
    }

    /// L_T of x₀ with `dimensions` and this squared norm: the divergence of q(x_T | x₀) from N(0, I).
    pub fn prior_divergence(&self, dimensions: usize, squared_norm: f64) -> f64 {
        let Some(last) = self.marginals.last() else { return 0.0 };
        let variance = last.std.powi(2);
        0.5 * (last.mean.powi(2) * squared_norm + dimensions as f64 * (variance - 1.0 - variance.ln()))
    }

    /// −log of the mass that the decoder N(`mean`, σ₁²) puts on one of 256 levels from `low` to 1; the outermost reach to
    /// infinity (Ho 2020, eq. 13).
    pub fn decode(&self, level: f64, mean: f64, low: f64) -> f64 {
        let std = self.variance(0, PosteriorVariance::Beta).sqrt();
        let half = half_level(low);
        let a = if level < low + half { f64::NEG_INFINITY } else { (level - half - mean) / std };
        let b = if level > 1.0 - half { f64::INFINITY } else { (level + half - mean) / std };
        -log_mass(a, b)
    }
}

/// Half of the distance between two of 256 levels from `low` to 1.
pub(crate) fn half_level(low: f64) -> f64 {
    (1.0 - low) / 510.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::Vp;
    use std::f64::consts::{E, PI};

    fn chain(n: usize) -> DdpmChain {
        DdpmChain::new(Chain::new(&Vp { beta_min: 0.1, beta_max: 20.0 }, n))
    }

    /// The bound of data N(0, v) in one dimension with the exact score, less their entropy, the least that there is. The decoder
    /// is the normal density with the best variance instead of 256 levels.
    fn gap(n: usize, v: f64, kind: PosteriorVariance) -> f64 {
        let chain = chain(n);
        let error = |i: usize| {
            let Marginal { mean: m, std: s } = chain.marginal(i);
            // Var(ε | xₜ).
            m * m * v / (m * m * v + s * s)
        };
        let steps: f64 =
            (1..n).map(|i| chain.error_weight(i, kind) * error(i) + chain.variance_divergence(i, kind)).sum();
        let first = chain.marginal(0);
        let missed = (first.std / first.mean).powi(2) * error(0);
        let entropy = |variance: f64| 0.5 * (2.0 * PI * E * variance).ln();
        chain.prior_divergence(1, v) + steps + entropy(missed) - entropy(v)
    }

    #[test]
    fn with_the_exact_score_of_a_gaussian_the_bound_comes_down_to_the_entropy() {
        let gaps = |v, kind| [100, 1000, 10_000].map(|n| gap(n, v, kind));
        // Reverse steps of data that are broad beside a step's noise have variance β: the gap goes as 1 / n …
        let broad = gaps(0.25, PosteriorVariance::Beta);
        assert!(broad[2] > 0.0 && broad[1] < 0.15 * broad[0] && broad[2] < 0.15 * broad[1], "{broad:?}");
        // … and is none if the data are the prior. β̃ is never enough.
        assert!(gaps(1.0, PosteriorVariance::Beta).iter().all(|gap| gap.abs() < 1e-9));
        for v in [0.25, 1.0] {
            assert!(gaps(v, PosteriorVariance::BetaTilde).iter().all(|gap| *gap > 0.3));
        }
    }

    #[test]
    fn the_posterior_is_that_of_bayes() {
        // q(xₜ₋₁ | xₜ, x₀) ∝ q(xₜ | xₜ₋₁) q(xₜ₋₁ | x₀): precisions add.
        let chain = chain(1000);
        for i in [1, 10, 999] {
            let beta = chain.betas[i];
            let precision = (1.0 - beta) / beta + 1.0 / chain.marginal(i - 1).std.powi(2);
            assert!((chain.posterior_variance(i) * precision - 1.0).abs() < 1e-9, "{i}");
            assert_eq!(chain.variance_divergence(i, PosteriorVariance::BetaTilde), 0.0);
            assert!(chain.variance_divergence(i, PosteriorVariance::Beta) > 0.0);
        }
        assert_eq!(chain.posterior_variance(0), 0.0);
    }

    #[test]
    fn the_prior_costs_next_to_nothing() {
        // Ho 2020, section 4: L_T is about 1e-5 bits a dimension, for data in [−1, 1].
        let bits = chain(1000).prior_divergence(3072, 3072.0 * 0.25) / (3072.0 * 2f64.ln());
        assert!((1e-6..5e-5).contains(&bits), "{bits}");
    }

    #[test]
    fn the_levels_of_the_decoder_add_up_to_one() {
        let chain = chain(1000);
        for (low, mean) in [(-1.0, 0.123), (0.0, 0.9), (-1.0, -1.2)] {
            let level = |k: i32| low + (1.0 - low) * f64::from(k) / 255.0;
            let total: f64 = (0..256).map(|k| (-chain.decode(level(k), mean, low)).exp()).sum();
            assert!((total - 1.0).abs() < 1e-12, "{total}");
        }
    }
}
