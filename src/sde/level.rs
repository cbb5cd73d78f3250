//! Every linear process in the coordinates of a variance exploding one: x / m = x₀ + σ z with σ = s / m (Karras 2022,
//! appendix B). Solvers that work on σ so work on all of them.

use super::{Sde, SdeKind};

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
}

impl Sde {
    /// The noise level at a time.
    pub fn level(&self, t: f64) -> Level {
        let marginal = self.marginal_prob(t);
        Level { t, mean: marginal.mean, sigma: marginal.std / marginal.mean }
    }

    /// The noise level of a σ, which may be any that the process takes at some time from 0 up.
    pub fn level_of(&self, sigma: f64) -> Level {
        let t = match self.kind {
            SdeKind::Ve { sigma_min, sigma_max } => (sigma / sigma_min).ln() / (sigma_max / sigma_min).ln(),
            // σ² = e^B − 1 with B = ∫β.
            SdeKind::Vp { beta_min, beta_max } => time_of((sigma * sigma).ln_1p(), beta_min, beta_max),
            // σ = e^(B/2) − e^(−B/2).
            SdeKind::SubVp { beta_min, beta_max } => time_of(2.0 * (0.5 * sigma).asinh(), beta_min, beta_max),
        };
        self.level(t)
    }

    /// The noise level of a σ that the process takes between its ε and its prior, below that of the prior; none if it does
    /// not. What is as near the least as a process is to the σ_min that it is named by (1e-4 of it) is the least.
    pub fn level_within(&self, sigma: f64) -> Option<Level> {
        let (least, prior) = (self.level(self.sampling_eps()), self.level(1.0));
        if (sigma / least.sigma - 1.0).abs() < 1e-3 {
            return Some(least);
        }
        (least.sigma..prior.sigma).contains(&sigma).then(|| self.level_of(sigma))
    }
}

/// The time up to which β has this integral: the root of ½ t² (β_max − β_min) + t β_min.
fn time_of(integral: f64, beta_min: f64, beta_max: f64) -> f64 {
    2.0 * integral / (beta_min + (beta_min * beta_min + 2.0 * (beta_max - beta_min) * integral).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [SdeKind; 3] = [
        SdeKind::Ve { sigma_min: 0.01, sigma_max: 50.0 },
        SdeKind::Vp { beta_min: 0.1, beta_max: 20.0 },
        SdeKind::SubVp { beta_min: 0.1, beta_max: 20.0 },
    ];

    #[test]
    fn the_level_of_a_times_sigma_is_that_times() {
        for kind in KINDS {
            let sde = Sde { kind, n: 1000 };
            for t in [1e-5, 1e-3, 0.1, 0.5, 0.999, 1.0] {
                let level = sde.level_of(sde.level(t).sigma);
                assert!((level.t - t).abs() < 1e-12, "{kind:?} at {t}: {level:?}");
            }
        }
    }

    /// d(σ²)/dt = (g / m)²: in these coordinates noise is all that the process adds.
    #[test]
    fn the_variance_grows_by_the_noise_alone() {
        for kind in KINDS {
            let (sde, h) = (Sde { kind, n: 1000 }, 1e-6);
            for t in [0.01, 0.3, 0.8] {
                let square = |t: f64| sde.level(t).sigma.powi(2);
                let rate = (square(t + h) - square(t - h)) / (2.0 * h);
                let expected = (sde.diffusion(t) / sde.level(t).mean).powi(2);
                assert!((rate / expected - 1.0).abs() < 1e-6, "{kind:?} at {t}: {rate}, not {expected}");
            }
        }
    }
}
