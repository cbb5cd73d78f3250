//! The sub-variance preserving process (Song 2021, eq. 34).

use super::{Process, Vp};

/// With VP's β(t) and m(t), and s = 1 − m², the square of VP's: always less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SubVp {
    /// β(0).
    pub beta_min: f64,
    /// β(1).
    pub beta_max: f64,
}

impl SubVp {
    /// The VP process with the same β.
    fn vp(&self) -> Vp {
        Vp { beta_min: self.beta_min, beta_max: self.beta_max }
    }
}

impl Process for SubVp {
    fn log_mean(&self, t: f64) -> f64 {
        self.vp().log_mean(t)
    }

    fn variance(&self, t: f64) -> f64 {
        self.vp().variance(t).powi(2)
    }

    fn name(&self) -> &str {
        "subvpsde"
    }

    fn drift(&self, t: f64) -> f64 {
        self.vp().drift(t)
    }

    /// g² = β (1 − exp(−2 ∫β)); expm1 keeps it exact near 0.
    fn diffusion(&self, t: f64) -> f64 {
        (self.beta(t) * -(4.0 * self.log_mean(t)).exp_m1()).sqrt()
    }

    fn beta(&self, t: f64) -> f64 {
        self.vp().beta(t)
    }

    fn prior_std(&self) -> f64 {
        1.0
    }

    /// σ = 2 sinh(B / 2) with B = ∫β.
    fn time_of_sigma(&self, sigma: f64) -> f64 {
        self.vp().time_of_integral(2.0 * (0.5 * sigma).asinh())
    }
}
