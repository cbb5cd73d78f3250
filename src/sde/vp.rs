//! The variance preserving process (Song 2021, eq. 32), whose chain is DDPM's.

use super::{Chain, Discretised, PosteriorVariance, Process, Transition};

/// β(t) = β_min + t (β_max − β_min), m² + s² = 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vp {
    /// β(0).
    pub beta_min: f64,
    /// β(1).
    pub beta_max: f64,
}

impl Vp {
    /// The t with ∫₀ᵗ β = `integral`: the root of ½ t² (β_max − β_min) + t β_min.
    pub(super) fn time_of_integral(&self, integral: f64) -> f64 {
        let Vp { beta_min, beta_max } = *self;
        if integral == 0.0 {
            return 0.0;
        }
        2.0 * integral / (beta_min + (beta_min * beta_min + 2.0 * (beta_max - beta_min) * integral).sqrt())
    }
}

impl Process for Vp {
    /// −½ ∫β.
    fn log_mean(&self, t: f64) -> f64 {
        -0.25 * t * t * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min
    }

    fn variance(&self, t: f64) -> f64 {
        -(2.0 * self.log_mean(t)).exp_m1()
    }

    fn name(&self) -> &str {
        "vpsde"
    }

    fn drift(&self, t: f64) -> f64 {
        -0.5 * self.beta(t)
    }

    fn diffusion(&self, t: f64) -> f64 {
        self.beta(t).sqrt()
    }

    fn beta(&self, t: f64) -> f64 {
        self.beta_min + t * (self.beta_max - self.beta_min)
    }

    fn prior_std(&self) -> f64 {
        1.0
    }

    /// σ² = e^B − 1 with B = ∫β.
    fn time_of_sigma(&self, sigma: f64) -> f64 {
        let integral = if sigma < 1e150 { (sigma * sigma).ln_1p() } else { 2.0 * sigma.ln() };
        self.time_of_integral(integral)
    }

    /// DDPM's chain (Song 2021, appendix E).
    fn discretize(&self, chain: &Chain<'_>, i: usize) -> Discretised {
        let beta = chain.beta(i);
        Discretised { drift: (1.0 - beta).sqrt() - 1.0, diffusion: beta.sqrt() }
    }

    /// DDPM's.
    fn ancestral(&self, chain: &Chain<'_>, i: usize, variance: PosteriorVariance) -> Transition {
        chain.ddpm_step(i, variance)
    }
}
