//! The probability flow, the ODE with the marginals of the SDE (Song 2021, eq. 13), and its divergence.

use crate::autodiff::{Dual, Eager};
use crate::kernels::hutchinson::{self, Probes};
use crate::kernels::{Result, concat, elementwise};
use crate::nn::Scorer;
use crate::tensor::{Shape, Tensor};

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
    scorer: &Scorer,
    x: &Tensor,
    times: &[f64],
    probes: Option<Probes<'_>>,
) -> Result<Flow> {
    let sde = &scorer.model.sde;
    let labels = scorer.labels(times);
    let column = |f: &dyn Fn(usize) -> f64| {
        let values: Vec<f32> = (0..times.len()).map(|i| f(i) as f32).collect();
        Tensor::from_slice(x.gpu(), Shape::new(values.len(), 1, 1, 1), &values)
    };
    let of_x = column(&|i| sde.drift(times[i]))?;
    let of_net = column(&|i| -0.5 * sde.diffusion(times[i]).powi(2) * labels[i].score_scale)?;
    // On a stack the factors repeat: tangents of the state and of the network add up like themselves.
    let drift = |x: &Tensor, net: &Tensor| {
        let net = elementwise::scale_samples(net, &of_net)?;
        elementwise::blend(&elementwise::scale_samples(x, &of_x)?, 1.0, &net, 1.0)
    };
    let conditioning = scorer.condition(&labels)?;
    let Some(probes) = probes else {
        let net = scorer.network(&mut Eager, x, &conditioning, None)?;
        return Ok(Flow { drift: drift(x, &net)?, divergence: None });
    };
    let stack = hutchinson::seed(x, probes)?;
    let mut dual = Dual::new(Eager, probes.count);
    let variable = dual.variable(stack.clone());
    let net = scorer.network(&mut dual, &variable, &conditioning, None)?;
    let image = drift(&stack, net.stack())?;
    let divergence = hutchinson::contract(&image, probes)?;
    Ok(Flow { drift: concat::samples(&image, 0, x.shape().n())?, divergence: Some(divergence) })
}
