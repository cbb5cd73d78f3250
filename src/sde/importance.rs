//! Times drawn by their weight in the likelihood's bound.

use super::Process;

/// The distribution of times on [eps, 1] whose density is proportional to g² / s² (see [`Process::importance`]).
///
/// g² / s² = d ln σ² / dt with σ = s / m, for every linear process: a share of the weight is a σ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Importance {
    /// ln σ² at eps.
    low: f64,
    total: f64,
}

impl Importance {
    pub(super) fn new(sigma_eps: f64, sigma_one: f64) -> Importance {
        let low = 2.0 * sigma_eps.ln();
        Importance { low, total: 2.0 * sigma_one.ln() - low }
    }

    /// The time of the process below which there is a share `u` in [0, 1] of the weight.
    pub fn time(&self, process: &dyn Process, u: f64) -> f64 {
        process.time_of_sigma((0.5 * (self.low + u * self.total)).exp())
    }

    /// ∫ g² / s² over the interval: the mean of f over these times, times this, is the integral of g² / s² f.
    pub fn total(&self) -> f64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::{SubVp, Ve, Vp};

    const PROCESSES: [&dyn Process; 4] = [
        &Ve { sigma_min: 0.01, sigma_max: 50.0 },
        &Vp { beta_min: 0.1, beta_max: 20.0 },
        &SubVp { beta_min: 0.1, beta_max: 20.0 },
        // Constant β.
        &Vp { beta_min: 3.0, beta_max: 3.0 },
    ];

    #[test]
    fn times_by_their_weight_run_from_end_to_end_and_integrate_as_uniform_ones_do() {
        let eps = 1e-5;
        for process in PROCESSES {
            let importance = process.importance(eps);
            let time = |u: f64| importance.time(process, u);
            assert!((time(0.0) - eps).abs() < 1e-12 && (time(1.0) - 1.0).abs() < 1e-9);
            let weight = |t: f64| (process.diffusion(t) / process.marginal_prob(t).std).powi(2);
            // The total, in log t: the weight is as 1 / t near 0.
            let n = 20_000;
            let midpoints = (0..n).map(|i| (f64::from(i) + 0.5) / f64::from(n));
            let by_quadrature: f64 = midpoints
                .clone()
                .map(|u| eps.powf(1.0 - u))
                .map(|t| weight(t) * t * -eps.ln() / f64::from(n))
                .sum();
            let total = importance.total();
            assert!(
                (total - by_quadrature).abs() < 1e-5 * total,
                "{process:?}: {total} is not {by_quadrature}"
            );
            // ∫ weight t dt, either way.
            let uniform: f64 = midpoints.clone().map(|u| weight(u) * u / f64::from(n)).sum();
            let ours: f64 = midpoints.map(|u| time(u) * total / f64::from(n)).sum();
            assert!((ours - uniform).abs() < 1e-3 * uniform, "{process:?}: {ours} is not {uniform}");
        }
    }

    #[test]
    fn the_density_is_the_weight() {
        for process in PROCESSES {
            let importance = process.importance(1e-5);
            let time = |u: f64| importance.time(process, u);
            for u in [0.01, 0.3, 0.7, 0.99] {
                let h = 1e-5;
                let (t, step) = (time(u), time(u + h) - time(u - h));
                let density = 2.0 * h * importance.total() / step;
                let weight = (process.diffusion(t) / process.marginal_prob(t).std).powi(2);
                assert!(
                    (density - weight).abs() < 1e-4 * weight,
                    "{process:?} at {t}: {density} is not {weight}"
                );
            }
        }
    }
}
