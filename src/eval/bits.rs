//! Means of log-likelihoods with standard errors: bits per dimension of images, nats of points.

use crate::sample::likelihood::LogLikelihood;
use crate::sde::bits_per_dim;

/// A mean over a set of samples, with standard errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean over samples, draws and probes.
    pub mean: f64,
    /// The standard error of `mean` over samples, which includes those of draws and probes; for one sample the
    /// error over draws, for one draw that over probes. `None` for a single value.
    pub error: Option<f64>,
    /// The part of `error` due to the probes, if there are several.
    pub of_probes: Option<f64>,
    /// The part of `error` due to dequantisation noise and its probes, if there are several draws.
    pub of_draws: Option<f64>,
}

/// Bits per dimension of images (see [`LogLikelihood::bits_per_dim`]); `draws` holds the same images under
/// each draw of dequantisation noise.
pub fn bits(draws: &[Vec<LogLikelihood>], dimensions: usize, centered: bool) -> Estimate {
    let of = |log: &LogLikelihood| log.bits_per_dim(dimensions, centered);
    estimate(draws, of, |change| bits_per_dim(change, dimensions))
}

/// log p of points in nats.
pub fn nats(samples: &[LogLikelihood]) -> Estimate {
    estimate(&[samples.to_vec()], LogLikelihood::logp, |change| change)
}

/// The mean of a number of each log-likelihood, whose part due to a probe is that of its change.
fn estimate(
    draws: &[Vec<LogLikelihood>],
    of: impl Fn(&LogLikelihood) -> f64,
    of_change: impl Fn(f64) -> f64,
) -> Estimate {
    let images: Vec<Vec<f64>> = (0..draws.first().map_or(0, Vec::len))
        .map(|i| draws.iter().map(|samples| of(&samples[i])).collect())
        .collect();
    let means: Vec<f64> = images.iter().map(|draws| mean(draws)).collect();
    let probes: Vec<Vec<f64>> = draws
        .iter()
        .flatten()
        .map(|log| log.changes.iter().map(|change| of_change(*change)).collect())
        .collect();
    let (of_probes, of_draws) = (error_of_mean(&probes), error_of_mean(&images));
    let over_images = error_of_mean(std::slice::from_ref(&means));
    Estimate { mean: mean(&means), error: over_images.or(of_draws).or(of_probes), of_probes, of_draws }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The part of the standard error of the mean of group means that is due to the spread within groups. `None`
/// if a group has fewer than two values.
fn error_of_mean(groups: &[Vec<f64>]) -> Option<f64> {
    let square = |group: &Vec<f64>| {
        let (n, mean) = (group.len() as f64, mean(group));
        group.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0) / n
    };
    let known = !groups.is_empty() && groups.iter().all(|group| group.len() > 1);
    known.then(|| groups.iter().map(square).sum::<f64>().sqrt() / groups.len() as f64)
}
