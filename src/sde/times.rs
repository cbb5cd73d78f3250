//! Times that are asked for by something else than their number: by a noise level, or by how much they weigh.

use super::{Sde, SdeKind};

impl Sde {
    /// The time at which the noise is `sigma` times the data, s(t) / m(t) = σ; below 0 or above 1 if there is none between.
    pub fn time_of_sigma(&self, sigma: f64) -> f64 {
        match self.kind {
            SdeKind::Ve { sigma_min, sigma_max } => (sigma / sigma_min).ln() / (sigma_max / sigma_min).ln(),
            // With B = ∫β, (s / m)² = e^B − 1 …
            SdeKind::Vp { .. } => self.time_of_integral((sigma * sigma).ln_1p()),
            // … and s / m = 2 sinh(B / 2).
            SdeKind::SubVp { .. } => self.time_of_integral(2.0 * (0.5 * sigma).asinh()),
        }
    }

    /// The distribution on [eps, 1] whose density is as g(t)² / s(t)², what the likelihood weighting multiplies the noise's
    /// squared error by (Song 2021b, appendix A).
    pub fn importance(&self, eps: f64) -> Importance {
        let low = self.weight_integral(eps);
        Importance { sde: *self, low, total: self.weight_integral(1.0) - low }
    }

    /// The t with ∫₀ᵗ β = `integral` (VP, sub-VP).
    fn time_of_integral(&self, integral: f64) -> f64 {
        let (start, end) = (self.beta(0.0), self.beta(1.0));
        if integral == 0.0 {
            return 0.0;
        }
        2.0 * integral / (start + (start * start + 2.0 * (end - start) * integral).sqrt())
    }

    /// A primitive of g² / s².
    fn weight_integral(&self, t: f64) -> f64 {
        let integral = -2.0 * self.log_mean(t);
        match self.kind {
            // σ(t) is geometric: the ratio is constant.
            SdeKind::Ve { sigma_min, sigma_max } => 2.0 * (sigma_max / sigma_min).ln() * t,
            // β / (1 − e^−B) integrates to log(e^B − 1), …
            SdeKind::Vp { .. } => integral + (-(-integral).exp_m1()).ln(),
            // … β (1 + e^−B) / (1 − e^−B) to 2 log sinh(B / 2), here without a constant.
            SdeKind::SubVp { .. } => integral + 2.0 * (-(-integral).exp_m1()).ln(),
        }
    }
}

/// Times by their weight: see [`Sde::importance`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Importance {
    sde: Sde,
    low: f64,
    total: f64,
}

impl Importance {
    /// The time below which there is a share `u` in [0, 1] of the weight.
    pub fn time(&self, u: f64) -> f64 {
        let y = self.low + u * self.total;
        match self.sde.kind {
            SdeKind::Ve { sigma_min, sigma_max } => y / (2.0 * (sigma_max / sigma_min).ln()),
            // B = log(1 + e^y).
            SdeKind::Vp { .. } => self.sde.time_of_integral(y.max(0.0) + (-y.abs()).exp().ln_1p()),
            // e^(y / 2) = 2 sinh(B / 2), and asinh(e^x) = x + log(1 + √(1 + e^−2x)) cannot overflow.
            SdeKind::SubVp { .. } => {
                let x = 0.5 * y - std::f64::consts::LN_2;
                let half =
                    if x < 0.0 { x.exp().asinh() } else { x + (1.0 + (-2.0 * x).exp()).sqrt().ln_1p() };
                self.sde.time_of_integral(2.0 * half)
            }
        }
    }

    /// ∫ g² / s² over the interval: the mean of f over these times, times this, is the integral of g² / s² f.
    pub fn total(&self) -> f64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [SdeKind; 4] = [
        SdeKind::Ve { sigma_min: 0.01, sigma_max: 50.0 },
        SdeKind::Vp { beta_min: 0.1, beta_max: 20.0 },
        SdeKind::SubVp { beta_min: 0.1, beta_max: 20.0 },
        // Constant β.
        SdeKind::Vp { beta_min: 3.0, beta_max: 3.0 },
    ];

    #[test]
    fn a_noise_level_finds_its_time() {
        for sde in KINDS.map(|kind| Sde { kind, n: 1000 }) {
            for t in [1e-5, 1e-3, 0.1, 0.5, 1.0] {
                let marginal = sde.marginal_prob(t);
                let found = sde.time_of_sigma(marginal.std / marginal.mean);
                assert!((found - t).abs() < 1e-9, "{sde:?}: {found} is not {t}");
            }
        }
    }

    #[test]
    fn times_by_their_weight_run_from_end_to_end_and_integrate_as_uniform_ones_do() {
        let eps = 1e-5;
        for sde in KINDS.map(|kind| Sde { kind, n: 1000 }) {
            let importance = sde.importance(eps);
            assert!((importance.time(0.0) - eps).abs() < 1e-12 && (importance.time(1.0) - 1.0).abs() < 1e-9);
            let weight = |t: f64| (sde.diffusion(t) / sde.marginal_prob(t).std).powi(2);
            // The total, in log t: the weight is as 1 / t near 0.
            let n = 20_000;
            let midpoints = (0..n).map(|i| (f64::from(i) + 0.5) / f64::from(n));
            let by_quadrature: f64 = midpoints
                .clone()
                .map(|u| eps.powf(1.0 - u))
                .map(|t| weight(t) * t * -eps.ln() / f64::from(n))
                .sum();
            let total = importance.total();
            assert!((total - by_quadrature).abs() < 1e-5 * total, "{sde:?}: {total} is not {by_quadrature}");
            // ∫ weight t dt, either way.
            let uniform: f64 = midpoints.clone().map(|u| weight(u) * u / f64::from(n)).sum();
            let ours: f64 = midpoints.map(|u| importance.time(u) * total / f64::from(n)).sum();
            assert!((ours - uniform).abs() < 1e-3 * uniform, "{sde:?}: {ours} is not {uniform}");
        }
    }

    #[test]
    fn the_density_is_the_weight() {
        for sde in KINDS.map(|kind| Sde { kind, n: 1000 }) {
            let importance = sde.importance(1e-5);
            for u in [0.01, 0.3, 0.7, 0.99] {
                let h = 1e-5;
                let (t, step) = (importance.time(u), importance.time(u + h) - importance.time(u - h));
                let density = 2.0 * h * importance.total() / step;
                let weight = (sde.diffusion(t) / sde.marginal_prob(t).std).powi(2);
                assert!(
                    (density - weight).abs() < 1e-4 * weight,
                    "{sde:?} at {t}: {density} is not {weight}"
                );
            }
        }
    }
}
