//! The variance exploding process (Song 2021, eq. 30).

use super::{Chain, Discretised, Marginal, Process};

/// σ(t) = σ_min (σ_max / σ_min)^t. As in the reference, the variance at t = 0 is σ_min² and not 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ve {
    /// The smallest standard deviation.
    pub sigma_min: f64,
    /// The largest standard deviation.
    pub sigma_max: f64,
}

impl Ve {
    fn std(&self, t: f64) -> f64 {
        self.sigma_min * self.ratio().powf(t)
    }

    fn ratio(&self) -> f64 {
        self.sigma_max / self.sigma_min
    }
}

impl Process for Ve {
    fn log_mean(&self, _: f64) -> f64 {
        0.0
    }

    fn variance(&self, t: f64) -> f64 {
        self.std(t).powi(2)
    }

    fn name(&self) -> &str {
        "vesde"
    }

    fn marginal_prob(&self, t: f64) -> Marginal {
        Marginal { mean: 1.0, std: self.std(t) }
    }

    fn drift(&self, _: f64) -> f64 {
        0.0
    }

    fn diffusion(&self, t: f64) -> f64 {
        self.std(t) * (2.0 * self.ratio().ln()).sqrt()
    }

    fn prior_std(&self) -> f64 {
        self.sigma_max
    }

    fn sampling_eps(&self) -> f64 {
        1e-5
    }

    fn time_of_sigma(&self, sigma: f64) -> f64 {
        (sigma / self.sigma_min).ln() / self.ratio().ln()
    }

    /// NCSN's chain (Song 2021, appendix E).
    fn discretize(&self, chain: &Chain<'_>, i: usize) -> Discretised {
        let sigma = |i: usize| self.std(chain.time(i));
        let below = if i == 0 { 0.0 } else { sigma(i - 1) };
        let variance = sigma(i).powi(2) - below.powi(2);
        Discretised { drift: 0.0, diffusion: variance.max(0.0).sqrt() }
    }
}
