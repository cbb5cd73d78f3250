//! The squared Fréchet distance between the Gaussians fitted to two sets of vectors (Dowson and Landau 1982):
//! ‖μ₁ − μ₂‖² + tr(C₁ + C₂ − 2 (C₁ C₂)^½). On Inception features it is FID (Heusel 2017).

use super::moments::eigen;
use super::{EvalError, Moments};
use faer::{Mat, Side};

/// The squared Fréchet distance; 0 for equal moments.
///
/// # Errors
/// [`EvalError::Dimensions`] if the vectors have different lengths; [`EvalError::NoConvergence`] if a moment is
/// too large.
pub fn frechet_distance(a: &Moments, b: &Moments) -> Result<f64, EvalError> {
    let (dimensions, other) = (a.dimensions(), b.dimensions());
    if dimensions != other {
        return Err(EvalError::Dimensions { a: dimensions, b: other });
    }
    // tr (C₁ C₂)^½ = tr (C₁^½ C₂ C₁^½)^½; the latter matrix is symmetric, so its eigenvalues are real. With
    // C₁ = U Λ Uᵀ, its eigenvalues are those of Λ^½ Uᵀ C₂ U Λ^½.
    let (variances, axes) = eigen(&a.covariance)?;
    let roots: Vec<f64> = variances.iter().map(|v| v.max(0.0).sqrt()).collect();
    let scaled = Mat::from_fn(dimensions, dimensions, |i, j| axes[(i, j)] * roots[j]);
    let product = scaled.transpose() * &b.covariance * &scaled;
    let values = product.self_adjoint_eigenvalues(Side::Lower).map_err(|_| EvalError::NoConvergence)?;
    let cross: f64 = values.iter().map(|v| v.max(0.0).sqrt()).sum();
    let trace = |matrix: &Mat<f64>| (0..dimensions).map(|i| matrix[(i, i)]).sum::<f64>();
    let means = (&a.mean - &b.mean).squared_norm_l2();
    let distance = means + trace(&a.covariance) + trace(&b.covariance) - 2.0 * cross;
    if distance.is_finite() { Ok(distance) } else { Err(EvalError::NoConvergence) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Features;
    use crate::eval::tests::uniform;

    #[test]
    fn gaussians_have_their_closed_form() {
        let moments = |mean: &[f64], covariance: &[f64]| Moments::new(mean, covariance).unwrap();
        // One dimension: (μ₁ − μ₂)² + (σ₁ − σ₂)².
        let d = frechet_distance(&moments(&[1.0], &[4.0]), &moments(&[3.0], &[9.0])).unwrap();
        assert!((d - 5.0).abs() < 1e-12);
        // Commuting covariances: the same formula along each axis, in any rotated frame.
        let (c, s) = (0.6, 0.8);
        let rotated =
            |x: f64, y: f64| [c * c * x + s * s * y, c * s * (x - y), c * s * (x - y), s * s * x + c * c * y];
        let d = frechet_distance(
            &moments(&[0.0; 2], &rotated(4.0, 1.0)),
            &moments(&[0.0; 2], &rotated(9.0, 16.0)),
        );
        let d = d.unwrap();
        assert!((d - (1.0 + 9.0)).abs() < 1e-9, "{d}");
        let same = moments(&[1.0, 2.0], &rotated(4.0, 0.0));
        assert!(frechet_distance(&same, &same).unwrap().abs() < 1e-9);
        assert!(frechet_distance(&same, &moments(&[1.0], &[1.0])).is_err());
    }

    #[test]
    fn features_have_the_distance_that_scipy_computes() {
        // scripts/evaluation_fixtures.py: 90 and 70 vectors of 24 dimensions, and 10 of them, fewer than dimensions.
        let [a, b] = [uniform(1, 90, 24, 1.0, 0.0), uniform(2, 70, 24, 1.2, 0.1)];
        let moments = |set: &Features| Moments::of(set).unwrap();
        let d = frechet_distance(&moments(&a), &moments(&b)).unwrap();
        assert!((d / SCIPY - 1.0).abs() < 1e-6, "{d}");
        let few = b.pick(&(0..10).collect::<Vec<_>>());
        let d = frechet_distance(&moments(&few), &moments(&a)).unwrap();
        assert!((d / SCIPY_FEW - 1.0).abs() < 1e-6, "{d}");
    }

    const SCIPY: f64 = 1.7017435525859625;
    const SCIPY_FEW: f64 = 3.561864970685577;
}
