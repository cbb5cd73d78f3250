//! The kernel distance (Bińkowski 2018, KID on Inception features): the squared maximum mean discrepancy
//! with the kernel k(x, y) = (xᵀy / d + 1)³ of d-dimensional features, by its unbiased estimator
//!
//! MMD² = Σ_{i≠j} k(xᵢ, xⱼ) / (m (m − 1)) + Σ_{i≠j} k(yᵢ, yⱼ) / (m (m − 1)) − 2 Σ_{i,j} k(xᵢ, yⱼ) / m².
//!
//! It is estimated on subsets without common members, so that the estimates are independent, and their spread
//! gives the standard error of their mean.

use super::features::at_least;
use super::products::{Block, products};
use super::{EvalError, Features};
use crate::gpu::Gpu;
use crate::random::{Key, Purpose};

/// A kernel distance. It may be negative: its estimator is unbiased.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelDistance {
    /// The mean over the subsets.
    pub mean: f64,
    /// The standard error of the mean.
    pub standard_error: f64,
    /// Number of subsets of each set.
    pub subsets: usize,
    /// Members of a subset.
    pub members: usize,
}

/// The fewest subsets, and the most members of one.
const SUBSETS: usize = 10;
const MEMBERS: usize = 1000;

/// The kernel distance of two sets; the same sets always have the same one. `watch` is called with a number of
/// pairs after each block, in all three times members² for each subset.
///
/// # Errors
/// [`EvalError::TooFew`] with less than 20 members of a set; if the vectors have different lengths; at an error
/// of the device or of `watch`.
pub fn kernel_distance<E: From<EvalError>>(
    gpu: &Gpu,
    a: &Features,
    b: &Features,
    watch: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Result<KernelDistance, E> {
    at_least("the kernel distance", 2 * SUBSETS, &[a, b])?;
    let n = a.len().min(b.len());
    let subsets = n.div_ceil(MEMBERS).max(SUBSETS);
    let members = n / subsets;
    let order = |set: &Features, step: u32| Key::new(0, Purpose::Subset).at(step).permutation(set.len());
    let (order_a, order_b) = (order(a, 0), order(b, 1));
    let mut estimates = Vec::with_capacity(subsets);
    for subset in 0..subsets {
        let part = |set: &Features, order: &[u32]| set.pick(&order[subset * members..][..members]);
        let (x, y) = (part(a, &order_a), part(b, &order_b));
        let mut sum = |x: &Features, y: &Features, own: bool| kernels(gpu, x, y, own, watch);
        let (within_x, within_y, across) = (sum(&x, &x, true)?, sum(&y, &y, true)?, sum(&x, &y, false)?);
        let m = members as f64;
        estimates.push((within_x + within_y) / (m * (m - 1.0)) - 2.0 * across / (m * m));
    }
    let count = subsets as f64;
    let mean = estimates.iter().sum::<f64>() / count;
    let variance = estimates.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Ok(KernelDistance { mean, standard_error: (variance / count).sqrt(), subsets, members })
}

/// The sum of the kernel over all pairs; without pairs of a member and itself if both sets are the same.
fn kernels<E: From<EvalError>>(
    gpu: &Gpu,
    x: &Features,
    y: &Features,
    own: bool,
    watch: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Result<f64, E> {
    let (mut sum, d) = (0.0, x.dimensions() as f64);
    products(gpu, x, y, &mut |block: Block<'_>| {
        for (row, values) in block.lines() {
            let pairs = values.iter().zip(block.columns.clone());
            let counted = pairs.filter(|(_, column)| !own || *column != row);
            sum += counted.map(|(product, _)| (f64::from(*product) / d + 1.0).powi(3)).sum::<f64>();
        }
        watch(block.values.len())
    })?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tests::uniform;

    fn distance(a: &Features, b: &Features) -> Result<KernelDistance, EvalError> {
        kernel_distance(&Gpu::open(None).unwrap(), a, b, &mut |_| Ok(()))
    }

    #[test]
    fn different_sets_have_the_distance_of_the_definition() {
        let [a, b] = [uniform(1, 90, 24, 1.0, 0.0), uniform(2, 70, 24, 1.2, 0.1)];
        let found = distance(&a, &b).unwrap();
        assert_eq!((found.subsets, found.members), (10, 7));
        // The estimator on all members, in float64, is within the error of the mean over subsets.
        assert!((found.mean - WHOLE).abs() < 3.0 * found.standard_error, "{found:?}");
        assert!(found.mean > 3.0 * found.standard_error, "{found:?}");
        assert_eq!(distance(&a, &b).unwrap(), found);
    }

    #[test]
    fn the_estimate_has_no_bias_and_its_standard_error_is_its_spread() {
        // Sets of one distribution: 40 pairs.
        let estimates: Vec<KernelDistance> = (0..40)
            .map(|i| {
                distance(&uniform(2 * i, 100, 8, 1.0, 0.0), &uniform(2 * i + 1, 100, 8, 1.0, 0.0)).unwrap()
            })
            .collect();
        let mean = estimates.iter().map(|e| e.mean).sum::<f64>() / 40.0;
        let spread = (estimates.iter().map(|e| (e.mean - mean).powi(2)).sum::<f64>() / 39.0).sqrt();
        let stated = (estimates.iter().map(|e| e.standard_error.powi(2)).sum::<f64>() / 40.0).sqrt();
        assert!(mean.abs() < 4.0 * spread / 40f64.sqrt(), "{mean} {spread}");
        assert!((spread / stated - 1.0).abs() < 0.5, "{spread} {stated}");
        assert!(matches!(
            distance(&uniform(0, 19, 8, 1.0, 0.0), &uniform(1, 100, 8, 1.0, 0.0)),
            Err(EvalError::TooFew { n: 19, .. })
        ));
    }

    /// By scripts/evaluation_fixtures.py.
    const WHOLE: f64 = 0.8564087090431141;
}
