//! Stacks `[x; ẋ₁; …; ẋ_K]` along the samples: a primal of `n` samples, and then its `K` tangents,
//! `[(1 + K) n, h, w, c]`.

use super::{Result, check};
use crate::tensor::Tensor;

/// Samples of the primal in a stack with `probes` tangents.
pub(super) fn primal_samples(kernel: &'static str, x: &Tensor, probes: usize) -> Result<usize> {
    let n = x.shape().n();
    let fits = n.is_multiple_of(1 + probes);
    check(kernel, fits, || format!("{n} samples are no stack of a primal and {probes} tangents"))?;
    Ok(n / (1 + probes))
}
