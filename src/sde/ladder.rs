//! How ladders of noise levels are configured (Song and Ermon 2020, "Improved techniques for training score-based
//! generative models").

/// ε of annealed Langevin dynamics with `steps` steps at each level of a geometric ladder down to `sigma_min`, of the ratio
/// `ratio` > 1 (technique 4): with all data at one point, x ~ N(0, γ² σ² I) becomes N(0, s² I) in T steps at level σ, and
///
/// s² / σ² = (1 − r)^2T (γ² − v) + v, with v = 2 / (2 − r), what no number of steps changes any more,
///
/// is as close to 1 as r = ε / σ_min² can make it.
pub fn langevin_eps(ratio: f64, steps: usize, sigma_min: f64) -> f64 {
    let excess = |log_r: f64| {
        let r = log_r.exp();
        let limit = 2.0 / (2.0 - r);
        (1.0 - r).powf(2.0 * steps as f64) * (ratio * ratio - limit) + limit - 1.0
    };
    // It falls from γ² − 1 at r = 0 to one minimum and rises to 1 at r = 1: the golden section finds it.
    let golden = 0.5 * (5f64.sqrt() - 1.0);
    let (mut low, mut high) = (-40.0, 0.0);
    for _ in 0..100 {
        let width = golden * (high - low);
        match excess(high - width) < excess(low + width) {
            true => high = low + width,
            false => low = high - width,
        }
    }
    f64::exp(0.5 * (low + high)) * sigma_min.powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_langevin_step_of_cifar_is_the_published_one() {
        let eps = langevin_eps(f64::powf(5000.0, 1.0 / 231.0), 5, 0.01);
        assert!((eps - 6.2e-6).abs() < 0.05e-6, "{eps}");
    }

    #[test]
    fn no_other_step_keeps_the_variance_better() {
        for (ratio, steps) in [(1.05, 1), (1.5, 10), (1.67, 100), (3.0, 5)] {
            // The chain itself, step by step.
            let variance =
                |r: f64| (0..steps).fold(ratio * ratio, |v: f64, _| (1.0 - r) * (1.0 - r) * v + 2.0 * r);
            let miss = |r: f64| (variance(r) - 1.0).abs();
            let best = langevin_eps(ratio, steps, 1.0);
            assert!((1..1000).all(|i| miss(best) <= miss(f64::from(i) / 1000.0)), "{ratio} {steps}: {best}");
        }
    }
}
