//! The probability flow, the ODE with the marginals of the SDE (Song 2021, eq. 13), and its divergence.

use crate::kernels::hutchinson::{self, Probes};
use crate::kernels::layout;
use crate::sample::error::Result;
use crate::sample::{Score, Tangents, Times};
use crate::sde::Process;
use crate::tensor::Tensor;

/// dx/dt = f x − ½ g² score, at `x` `[n, h, w, c]` in the data's range and times in (0, 1].
///
/// # Errors
/// Any error of the score.
pub fn probability_flow(score: &dyn Score, x: &Tensor, t: &Times) -> Result<Tensor> {
    let process = score.process();
    Ok((x * drift(process, t) + score.at(x, t)?.score() * gain(process, t)).run()?)
}

/// f(t).
fn drift(process: &dyn Process, t: &Times) -> Times {
    t.map(|t| process.drift(t))
}

/// −½ g(t)².
fn gain(process: &dyn Process, t: &Times) -> Times {
    t.map(|t| -0.5 * process.diffusion(t).powi(2))
}

/// The flow at a point of each sample, with its divergence.
pub struct Flow {
    /// dx/dt, `[n, h, w, c]`.
    pub drift: Tensor,
    /// ε · (∂drift/∂x) ε for each probe and sample, `[K n, 1, 1, 4]`, in four lanes that are yet to be added.
    pub divergence: Tensor,
}

/// [`probability_flow`] with its divergence by probes, in forward mode: no backward pass and no activation kept.
///
/// # Errors
/// Any error of the score.
pub fn divergence(score: &dyn Tangents, x: &Tensor, t: &Times, probes: Probes<'_>) -> Result<Flow> {
    let process = score.process();
    let stack = hutchinson::seed(x, probes)?;
    // Tangents of the state and of the score combine like themselves.
    let tangents = score.tangents(&stack, probes.count, t)?;
    let image = (&stack * drift(process, t) + tangents * gain(process, t)).run()?;
    let divergence = hutchinson::contract(&image, probes)?;
    Ok(Flow { drift: layout::samples(&image, 0, x.shape().n())?, divergence })
}
