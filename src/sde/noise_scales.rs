//! How NCSNv2 chooses its noise levels and its Langevin step (Song and Ermon 2020, techniques 1, 2 and 4).

use super::normal::cdf;

/// The overlap of neighbouring noise levels in every published ladder. The paper says "≈ 0.5", which would give CIFAR-10 219
/// levels instead of its 232; and it means Φ where some print erf.
pub const OVERLAP: f64 = 0.5668;

/// A geometric ladder of noise levels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ladder {
    /// The largest standard deviation, σ₁.
    pub sigma_max: f64,
    /// The smallest, σ_L.
    pub sigma_min: f64,
    /// How many levels, L.
    pub levels: usize,
}

impl Ladder {
    /// The ladder whose neighbours overlap by `overlap` in `dimensions`, both ends included (technique 2).
    pub fn new(sigma_max: f64, sigma_min: f64, dimensions: usize, overlap: f64) -> Ladder {
        let steps = (sigma_max / sigma_min).ln() / ratio_of(dimensions, overlap).ln();
        Ladder { sigma_max, sigma_min, levels: 1 + steps.round().max(1.0) as usize }
    }

    /// γ, a level divided by the next smaller one.
    pub fn ratio(&self) -> f64 {
        (self.sigma_max / self.sigma_min).powf(1.0 / (self.levels - 1) as f64)
    }

    /// The overlap of neighbouring levels: near the requested one, because the number of levels is whole.
    pub fn overlap(&self, dimensions: usize) -> f64 {
        overlap(self.ratio(), dimensions)
    }
}

/// The mass that N(0, σᵢ² I) has where N(0, (γ σᵢ)² I) has nearly all of its own: three standard deviations of the norm to either
/// side (technique 2).
fn overlap(ratio: f64, dimensions: usize) -> f64 {
    let shift = (2.0 * dimensions as f64).sqrt() * (ratio - 1.0);
    cdf(shift + 3.0 * ratio) - cdf(shift - 3.0 * ratio)
}

/// The ratio γ of neighbours that overlap by so much. The overlap falls from almost 1 to 0 as γ rises from 1, if there are more
/// dimensions than 5.
fn ratio_of(dimensions: usize, wanted: f64) -> f64 {
    let (mut low, mut high) = (1.0, 1e6);
    for _ in 0..200 {
        let middle = f64::sqrt(low * high);
        if overlap(middle, dimensions) > wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// s_T² / σᵢ² after `steps` Langevin steps of size ε σᵢ² / σ_L² on N(0, σᵢ² I), from N(0, γ² σᵢ² I); `step` is ε / σ_L²
/// (technique 4).
pub fn langevin_variance(ratio: f64, steps: usize, step: f64) -> f64 {
    let kept = (1.0 - step).powi(2 * steps as i32);
    // 2 ε / (σ_L² − σ_L² (1 − ε / σ_L²)²).
    let stationary = 2.0 / (2.0 - step);
    kept * (ratio * ratio - stationary) + stationary
}

/// The ε for which `steps` Langevin steps bring s_T² / σ² as near to 1 as they can (technique 4).
pub fn langevin_eps(ratio: f64, steps: usize, sigma_min: f64) -> f64 {
    let miss = |step: f64| (langevin_variance(ratio, steps, step) - 1.0).abs();
    // The variance falls from γ² and rises again, always above 1: the lowest of a grid in log ε, then thirds of its place.
    let grid = |i: usize| 10f64.powf(-6.0 + 6.0 * i as f64 / 1000.0);
    let best = (1..1000).min_by(|a, b| miss(grid(*a)).total_cmp(&miss(grid(*b)))).unwrap_or(1);
    let (mut low, mut high) = (grid(best - 1), grid(best + 1));
    for _ in 0..200 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if miss(a) < miss(b) {
            high = b;
        } else {
            low = a;
        }
    }
    0.5 * (low + high) * sigma_min * sigma_min
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_ladder_follows_from_its_data() {
        // NCSNv2's configurations: σ₁, height, and how many levels.
        for (sigma_max, size, levels) in
            [(50.0, 32, 232), (90.0, 64, 500), (140.0, 96, 788), (190.0, 128, 1086), (348.0, 256, 2311)]
        {
            let ladder = Ladder::new(sigma_max, 0.01, 3 * size * size, OVERLAP);
            assert_eq!(ladder.levels, levels, "at {size}");
        }
        // Taken at its word, the criterion gives fewer: see `OVERLAP`.
        assert_eq!(Ladder::new(50.0, 0.01, 3072, 0.5).levels, 219);
    }

    #[test]
    fn neighbours_of_a_ladder_overlap_by_what_was_asked() {
        for (dimensions, wanted) in [(64, 0.3), (64, 0.5668), (3072, 0.5), (196_608, 0.9)] {
            let actual = overlap(ratio_of(dimensions, wanted), dimensions);
            assert!((actual - wanted).abs() < 1e-9, "{actual} is not {wanted}");
        }
    }

    #[test]
    fn the_langevin_step_of_cifar_is_the_published_one() {
        let ladder = Ladder::new(50.0, 0.01, 3072, OVERLAP);
        let eps = langevin_eps(ladder.ratio(), 5, 0.01);
        assert!((eps - 6.2e-6).abs() < 0.05e-6, "{eps}");
    }

    #[test]
    fn the_variance_is_what_langevin_dynamics_make_of_it() {
        let (ratio, step): (f64, f64) = (1.04, 0.06);
        // x ← x − step x + √(2 step) ξ, in units of σᵢ.
        let simulated =
            (0..5).fold(ratio * ratio, |variance, _| (1.0 - step).powi(2) * variance + 2.0 * step);
        assert!((langevin_variance(ratio, 5, step) - simulated).abs() < 1e-12);
    }
}
