//! Every linear process in the coordinates of a variance exploding one: x / m = x₀ + σ z with σ = s / m (Karras 2022,
//! appendix B). Solvers that work on σ so work on all of them.

use super::Marginal;

/// A noise level: x = mean (x₀ + sigma z).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The time.
    pub t: f64,
    /// m, the factor of the data.
    pub mean: f64,
    /// σ = s / m, the standard deviation of the noise in units of the data.
    pub sigma: f64,
}

impl Level {
    /// The data themselves.
    pub const DATA: Level = Level { t: 0.0, mean: 1.0, sigma: 0.0 };

    /// λ = ln(m / s), half of the logarithm of the signal-to-noise ratio.
    pub fn lambda(&self) -> f64 {
        -self.sigma.ln()
    }

    /// m and s.
    pub fn marginal(&self) -> Marginal {
        Marginal { mean: self.mean, std: self.mean * self.sigma }
    }
}
