//! Why samples could not be drawn.

use crate::config::ConfigError;
use crate::gpu::GpuError;
use crate::kernels::KernelError;

/// Why samples could not be drawn, or a likelihood not be computed.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// A kernel or the device.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A value of the sampler's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Fewer steps than a sampler needs.
    #[error("steps = {steps}; this sampler needs at least {least}")]
    TooFewSteps {
        /// The number of steps.
        steps: usize,
        /// The smallest number that it takes.
        least: usize,
    },
    /// The process has no such noise level between its ε and its prior.
    #[error("sigma_min = {sigma}: the process has no such noise level")]
    NoSuchLevel {
        /// σ = s / m.
        sigma: f64,
    },
    /// A tolerance that is not a number above 0.
    #[error("{name} = {value}; it must be a number above 0")]
    Tolerance {
        /// `rtol` or `atol`.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// An adaptive solver's steps have become too small to go on.
    #[error("the steps of the solver have become too small to go on at t = {t:.6}; loosen rtol and atol")]
    StepTooSmall {
        /// The time at which it stopped.
        t: f64,
    },
    /// An adaptive solver has not arrived after the most evaluations there may be.
    #[error("the solver has only got to t = {t:.6} after {evaluations} evaluations; loosen rtol and atol")]
    TooManyEvaluations {
        /// The time at which it stopped.
        t: f64,
        /// Evaluations made.
        evaluations: usize,
    },
    /// The watch has ended the run.
    #[error("the run was stopped")]
    Stopped,
    /// Settings that contradict each other, or the process.
    #[error("{0}")]
    Refused(String),
}

impl From<GpuError> for SampleError {
    fn from(error: GpuError) -> Self {
        SampleError::Kernel(error.into())
    }
}

/// The result of sampling.
pub type Result<T> = std::result::Result<T, SampleError>;

/// An error about settings.
pub(super) fn refuse(what: impl Into<String>) -> SampleError {
    SampleError::Refused(what.into())
}
