//! The reasons why a metric has no value.

use crate::kernels::KernelError;

/// The reason why a metric has no value.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// An error of the device.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A set is too small.
    #[error("{metric} needs at least {least} images of each set, and one has {n}")]
    TooFew {
        /// The metric.
        metric: &'static str,
        /// The smallest number of images.
        least: usize,
        /// The number of images.
        n: usize,
    },
    /// Two sets have features of different lengths.
    #[error("features of {a} and of {b} dimensions cannot be compared")]
    Dimensions {
        /// The dimensions of one set.
        a: usize,
        /// The dimensions of the other.
        b: usize,
    },
    /// An eigendecomposition did not converge: the features have values that are not finite, or too large.
    #[error(
        "the eigenvalues of a covariance cannot be computed; the features have values that are too large"
    )]
    NoConvergence,
}
