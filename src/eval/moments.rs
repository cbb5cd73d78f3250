//! Mean and covariance of features, and their principal components, in float64.

use super::{EvalError, Features};
use faer::{Mat, MatRef, Side};

/// Mean and covariance of a set of vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    pub(super) mean: Mat<f64>,
    pub(super) covariance: Mat<f64>,
}

/// Vectors of which the covariance takes a product at a time.
const BLOCK: usize = 1024;

impl Moments {
    /// The moments of a set; the covariance divides by n − 1. `None` if n < 2.
    pub fn of(features: &Features) -> Option<Moments> {
        let (n, d) = (features.len(), features.dimensions());
        if n < 2 {
            return None;
        }
        let mut mean = vec![0.0; d];
        for row in features.rows() {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        mean.iter_mut().for_each(|sum| *sum /= n as f64);
        let mut covariance = Mat::zeros(d, d);
        for block in features.values().chunks(BLOCK * d) {
            let centred = Mat::from_fn(d, block.len() / d, |i, row| f64::from(block[row * d + i]) - mean[i]);
            covariance += &centred * centred.transpose();
        }
        covariance /= faer::Scale(n as f64 - 1.0);
        Some(Moments { mean: column(&mean), covariance })
    }

    /// Moments from a mean `[d]` and a covariance `[d, d]`; `None` if the lengths do not agree.
    pub fn new(mean: &[f64], covariance: &[f64]) -> Option<Moments> {
        let d = mean.len();
        let square = d > 0 && covariance.len() == d * d;
        let matrix = || MatRef::from_row_major_slice(covariance, d, d).to_owned();
        square.then(|| Moments { mean: column(mean), covariance: matrix() })
    }

    /// The length of the vectors.
    pub fn dimensions(&self) -> usize {
        self.mean.nrows()
    }

    /// The mean, `[d]`.
    pub fn mean(&self) -> Vec<f64> {
        (0..self.dimensions()).map(|i| self.mean[(i, 0)]).collect()
    }

    /// The covariance, `[d, d]`.
    pub fn covariance(&self) -> Vec<f64> {
        let d = self.dimensions();
        (0..d * d).map(|i| self.covariance[(i / d, i % d)]).collect()
    }

    /// The directions of the `count` largest variances.
    ///
    /// # Errors
    /// If the eigenvalues cannot be computed.
    pub fn principal_components(&self, count: usize) -> Result<Components, EvalError> {
        let (_, vectors) = eigen(&self.covariance)?;
        let d = self.dimensions();
        // Eigenvalues ascend.
        let directions = vectors.subcols(d - count.min(d), count.min(d)).to_owned();
        Ok(Components { mean: self.mean.clone(), directions })
    }
}

/// An orthogonal projection of vectors.
#[derive(Debug, Clone)]
pub struct Components {
    mean: Mat<f64>,
    /// `[d, count]`.
    directions: Mat<f64>,
}

impl Components {
    /// The components of a set, relative to the mean of the set that defined the directions.
    ///
    /// # Errors
    /// [`EvalError::Dimensions`] if the vectors have another length.
    pub fn project(&self, features: &Features) -> Result<Features, EvalError> {
        let (d, count) = (self.directions.nrows(), self.directions.ncols());
        self.check(features.dimensions())?;
        let mut values = Vec::with_capacity(features.len() * count);
        for block in features.values().chunks(BLOCK * d) {
            let centred =
                Mat::from_fn(block.len() / d, d, |row, i| f64::from(block[row * d + i]) - self.mean[(i, 0)]);
            let projected = centred * &self.directions;
            values.extend((0..projected.nrows() * count).map(|i| projected[(i / count, i % count)] as f32));
        }
        Features::new(values, count).ok_or(EvalError::Dimensions { a: count, b: 0 })
    }

    /// The moments of the components, from those of the vectors.
    ///
    /// # Errors
    /// [`EvalError::Dimensions`] if the vectors have another length.
    pub fn project_moments(&self, moments: &Moments) -> Result<Moments, EvalError> {
        self.check(moments.dimensions())?;
        let across = self.directions.transpose();
        Ok(Moments {
            mean: across * (&moments.mean - &self.mean),
            covariance: across * &moments.covariance * &self.directions,
        })
    }

    fn check(&self, dimensions: usize) -> Result<(), EvalError> {
        match (self.directions.nrows(), dimensions) {
            (a, b) if a == b => Ok(()),
            (a, b) => Err(EvalError::Dimensions { a, b }),
        }
    }
}

/// Eigenvalues in ascending order, and the eigenvectors as columns.
pub(super) fn eigen(matrix: &Mat<f64>) -> Result<(Vec<f64>, Mat<f64>), EvalError> {
    let eigen = matrix.self_adjoint_eigen(Side::Lower).map_err(|_| EvalError::NoConvergence)?;
    let values = eigen.S().column_vector();
    Ok(((0..values.nrows()).map(|i| values[i]).collect(), eigen.U().to_owned()))
}

fn column(values: &[f64]) -> Mat<f64> {
    Mat::from_fn(values.len(), 1, |i, _| values[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_the_mean_and_the_unbiased_covariance() {
        let set = Features::new(vec![0.0, 1.0, 2.0, 5.0, 4.0, 9.0], 2).unwrap();
        let moments = Moments::of(&set).unwrap();
        assert_eq!((moments.mean(), moments.covariance()), (vec![2.0, 5.0], vec![4.0, 8.0, 8.0, 16.0]));
        assert_eq!(Moments::new(&moments.mean(), &moments.covariance()), Some(moments));
        assert!(Moments::of(&Features::new(vec![1.0, 2.0], 2).unwrap()).is_none());
        assert!(Moments::new(&[0.0; 2], &[1.0; 3]).is_none());
    }

    #[test]
    fn the_first_component_has_the_largest_variance_and_moments_project_as_features_do() {
        // Points on the line (3, 4) / 5, with a little of (−4, 3) / 5.
        let points = [(-2.0, 0.1), (-1.0, -0.1), (0.0, 0.0), (1.0, -0.1), (2.0, 0.1)];
        let rotated =
            points.iter().flat_map(|(u, v): &(f32, f32)| [0.6 * u - 0.8 * v + 1.0, 0.8 * u + 0.6 * v]);
        let set = Features::new(rotated.collect(), 2).unwrap();
        let moments = Moments::of(&set).unwrap();
        let components = moments.principal_components(1).unwrap();
        let projected = components.project(&set).unwrap();
        for (row, (u, _)) in projected.rows().zip(points) {
            assert!((row[0].abs() - u.abs()).abs() < 1e-6, "{row:?}");
        }
        let (a, b) = (Moments::of(&projected).unwrap(), components.project_moments(&moments).unwrap());
        assert!((a.covariance[(0, 0)] - b.covariance[(0, 0)]).abs() < 1e-6);
        assert!(a.mean[(0, 0)].abs() < 1e-6 && b.mean[(0, 0)].abs() < 1e-12);
        assert!(components.project(&Features::new(vec![0.0; 3], 3).unwrap()).is_err());
    }
}
