//! The probability flow, the ODE with the marginals of the SDE (Song 2021, eq. 13), and its divergence.

use super::score::Score;
use crate::kernels::hutchinson::{self, Probes};
use crate::kernels::sde_step::{Factors, sde_step_each};
use crate::kernels::{Result, concat};
use crate::nn::Label;
use crate::tensor::Tensor;

/// The flow at a point of each sample.
pub struct Flow {
    /// dx/dt = f x − ½ g² score, `[n, h, w, c]`.
    pub drift: Tensor,
    /// ε · (∂drift/∂x) ε for each probe and sample, `[K n, 1, 1, 4]`, in four lanes that have yet to be added.
    pub divergence: Option<Tensor>,
}

/// The probability flow at `x` `[n, h, w, c]` in the data's range and a time of each sample. With probes also its
/// divergence, by forward mode: no backward pass and no activation kept.
///
/// # Errors
/// If the device refuses.
pub fn probability_flow(
    score: &dyn Score,
    x: &Tensor,
    times: &[f64],
    probes: Option<Probes<'_>>,
) -> Result<Flow> {
    let labels: Vec<Label> = times.iter().map(|t| score.label(*t)).collect();
    let factors = |i: usize| {
        let (t, label) = (times[i], labels[i]);
        let half = -0.5 * score.sde().diffusion(t).powi(2);
        Factors::new(&[score.sde().drift(t) + half * label.score.x, half * label.score.net], 0.0)
    };
    let factors: Vec<Factors> = (0..times.len()).map(factors).collect();
    let Some(probes) = probes else {
        let net = score.network(x, &labels)?;
        return Ok(Flow { drift: sde_step_each(&[x, &net], &factors, None)?, divergence: None });
    };
    let stack = hutchinson::seed(x, probes)?;
    let net = score.tangents(&stack, probes.count, &labels)?;
    // Tangents of the state and of the network add up like themselves.
    let image = sde_step_each(&[&stack, &net], &factors.repeat(1 + probes.count), None)?;
    let divergence = hutchinson::contract(&image, probes)?;
    Ok(Flow { drift: concat::samples(&image, 0, x.shape().n())?, divergence: Some(divergence) })
}
