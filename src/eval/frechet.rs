//! The squared Fréchet distance between the Gaussians fitted to two sets of vectors (Dowson and Landau 1982):
//! ‖μ₁ − μ₂‖² + tr(C₁ + C₂ − 2 (C₁ C₂)^½). On Inception features it is called FID; here the vectors are
//! pixels.

use nalgebra::{DMatrix, DVector};

/// Mean and covariance of a set of vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
}

impl Moments {
    /// The moments of n consecutive vectors of length `dimensions`; the covariance divides by n − 1. `None`
    /// if n < 2, or if `vectors` ends within a vector.
    pub fn of(vectors: &[f64], dimensions: usize) -> Option<Moments> {
        let n = vectors.len() / dimensions.max(1);
        if n < 2 || vectors.len() != n * dimensions {
            return None;
        }
        let columns = DMatrix::from_column_slice(dimensions, n, vectors);
        let mean = columns.column_mean();
        let centred = DMatrix::from_fn(dimensions, n, |i, j| columns[(i, j)] - mean[i]);
        let covariance = &centred * centred.transpose() / (n as f64 - 1.0);
        Some(Moments { mean, covariance })
    }
}

/// The squared Fréchet distance; 0 for equal moments.
pub fn frechet_distance(a: &Moments, b: &Moments) -> f64 {
    // tr (C₁ C₂)^½ = tr (C₁^½ C₂ C₁^½)^½; the latter matrix is symmetric, so its eigenvalues are real.
    let root = symmetric_root(&a.covariance);
    let product = &root * &b.covariance * &root;
    let product = (&product + product.transpose()) * 0.5;
    let cross: f64 = product.symmetric_eigenvalues().iter().map(|v| v.max(0.0).sqrt()).sum();
    (&a.mean - &b.mean).norm_squared() + a.covariance.trace() + b.covariance.trace() - 2.0 * cross
}

fn symmetric_root(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let eigen = matrix.clone().symmetric_eigen();
    let roots = eigen.eigenvalues.map(|v| v.max(0.0).sqrt());
    &eigen.eigenvectors * DMatrix::from_diagonal(&roots) * eigen.eigenvectors.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(mean: &[f64], covariance: &[f64]) -> Moments {
        let d = mean.len();
        Moments {
            mean: DVector::from_column_slice(mean),
            covariance: DMatrix::from_row_slice(d, d, covariance),
        }
    }

    #[test]
    fn gaussians_have_their_closed_form() {
        // One dimension: (μ₁ − μ₂)² + (σ₁ − σ₂)².
        let d = frechet_distance(&moments(&[1.0], &[4.0]), &moments(&[3.0], &[9.0]));
        assert!((d - 5.0).abs() < 1e-12);
        // Commuting covariances: the same formula along each axis, in any rotated frame.
        let (c, s) = (0.6, 0.8);
        let rotated =
            |x: f64, y: f64| [c * c * x + s * s * y, c * s * (x - y), c * s * (x - y), s * s * x + c * c * y];
        let d = frechet_distance(
            &moments(&[0.0; 2], &rotated(4.0, 1.0)),
            &moments(&[0.0; 2], &rotated(9.0, 16.0)),
        );
        assert!((d - (1.0 + 9.0)).abs() < 1e-9, "{d}");
        let same = moments(&[1.0, 2.0], &rotated(4.0, 0.0));
        assert!(frechet_distance(&same, &same).abs() < 1e-9);
    }

    #[test]
    fn moments_are_the_mean_and_the_unbiased_covariance() {
        let m = Moments::of(&[0.0, 1.0, 2.0, 5.0, 4.0, 9.0], 2).unwrap();
        assert_eq!(m, moments(&[2.0, 5.0], &[4.0, 8.0, 8.0, 16.0]));
        assert!(Moments::of(&[1.0, 2.0], 2).is_none());
    }
}
