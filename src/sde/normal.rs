//! The normal distribution on intervals.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Φ(x).
pub(super) fn cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// The x with Φ(x) = `p`, 0 < `p` < 1, by bisection.
pub fn quantile(p: f64) -> f64 {
    let halve = |(low, high): (f64, f64), _| {
        let middle = 0.5 * (low + high);
        if cdf(middle) < p { (middle, high) } else { (low, middle) }
    };
    let (low, high) = (0..64).fold((-40.0, 40.0), halve);
    0.5 * (low + high)
}

/// log P(a < z < b) of a standard normal z, a < b, also where the probability is no f64 any more.
pub fn log_mass(a: f64, b: f64) -> f64 {
    // By symmetry the interval lies to the right, if it does not hold 0.
    let (a, b) = if b < 0.0 { (-b, -a) } else { (a, b) };
    let tail = |x: f64| 0.5 * libm::erfc(x * FRAC_1_SQRT_2);
    if a < 0.0 {
        return (-(tail(-a) + tail(b))).ln_1p();
    }
    if a < 30.0 {
        return (tail(a) - tail(b)).ln();
    }
    // φ(a) / a (1 − a⁻² + 3 a⁻⁴), less the same beyond b.
    let series = |x: f64| (1.0 - 1.0 / (x * x) + 3.0 / x.powi(4)) / x;
    let beyond = if b.is_finite() { (-0.5 * (b - a) * (b + a)).exp() * series(b) } else { 0.0 };
    -0.5 * a * a - 0.5 * (2.0 * PI).ln() + (series(a) - beyond).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masses_are_those_of_tables_and_add_up() {
        assert!((cdf(1.959_963_984_540_054) - 0.975).abs() < 1e-12);
        assert!((quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-12 && quantile(0.5).abs() < 1e-12);
        assert!((log_mass(-1.0, 1.0).exp() - 0.682_689_492_137_086).abs() < 1e-12);
        assert!((log_mass(f64::NEG_INFINITY, -3.0).exp() - 0.001_349_898_031_630_09).abs() < 1e-15);
        let parts = log_mass(-40.0, 0.3).exp() + log_mass(0.3, 40.0).exp();
        assert!((parts - 1.0).abs() < 1e-12);
    }

    #[test]
    fn tails_meet_where_the_series_takes_over_and_go_on() {
        let (below, above) = (log_mass(29.999_999, 31.0), log_mass(30.000_001, 31.0));
        // The slope is −a: 2e-6 apart.
        assert!((below - above - 6e-5).abs() < 1e-6, "{below} {above}");
        assert!((log_mass(-1001.0, -1000.0) - (-500_000.0 - (1000.0 * (2.0 * PI).sqrt()).ln())).abs() < 1e-5);
    }
}
