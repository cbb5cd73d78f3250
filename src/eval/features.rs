//! Features of a set of images: one vector for each image.

use super::EvalError;

/// Vectors of one length, one for each image: `[n, dimensions]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    values: Vec<f32>,
    dimensions: usize,
}

impl Features {
    /// Features from n consecutive vectors; `None` if `values` ends within a vector, or a vector has no element.
    pub fn new(values: Vec<f32>, dimensions: usize) -> Option<Features> {
        let whole = dimensions > 0 && values.len().is_multiple_of(dimensions);
        whole.then_some(Features { values, dimensions })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.values.len() / self.dimensions
    }

    /// Returns true if there are no images.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The length of each vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// All values, image after image.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The vector of image number `index`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dimensions..][..self.dimensions]
    }

    /// The vectors in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimensions)
    }

    /// The vectors of the images with these numbers, in that order.
    pub fn pick(&self, numbers: &[u32]) -> Features {
        let values = numbers.iter().flat_map(|number| self.row(*number as usize)).copied().collect();
        Features { values, dimensions: self.dimensions }
    }

    /// Checks that another set has vectors of the same length.
    ///
    /// # Errors
    /// [`EvalError::Dimensions`] if it does not.
    pub(super) fn check(&self, other: &Features) -> Result<(), EvalError> {
        match (self.dimensions, other.dimensions) {
            (a, b) if a == b => Ok(()),
            (a, b) => Err(EvalError::Dimensions { a, b }),
        }
    }
}

/// Checks that each set has at least `least` images.
pub(super) fn at_least(metric: &'static str, least: usize, sets: &[&Features]) -> Result<(), EvalError> {
    match sets.iter().map(|set| set.len()).find(|n| *n < least) {
        Some(n) => Err(EvalError::TooFew { metric, least, n }),
        None => Ok(()),
    }
}
