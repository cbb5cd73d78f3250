//! Sliced score matching: ½ ‖s‖² + vᵀ ∇s v (Song 2019b, eq. 8), with the derivative by forward mode or by
//! differences. Its expectation is that of the denoising loss less a constant.

use super::times::Target;
use super::{Draw, Pass, condition, perturbed};
use crate::autodiff::{Dual, Engine, Stacked};
use crate::config::Projection;
use crate::kernels::random::{Distribution, fill};
use crate::kernels::score_matching::{self, Slice};
use crate::kernels::{Result, inner_product, layout};
use crate::nn::{Architecture, Scorer};
use crate::random::Purpose;
use crate::tensor::Tensor;

/// A sliced loss.
#[derive(Debug, Clone)]
pub(super) struct Sliced {
    pub derivative: Derivative,
    pub projection: Projection,
}

/// How the score's derivative along v is found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Derivative {
    /// Exactly, and the gradient by reverse over forward mode.
    Forward,
    /// By the scores at x ± ε v, with s their mean (Pang 2020), ε being `eps` standard deviations of the
    /// noise.
    Difference { eps: f64 },
}

impl Sliced {
    pub(super) fn loss<A: Architecture>(
        &self,
        scorer: &Scorer<A>,
        x0: &Tensor,
        targets: &[Target],
        weight: f64,
        pass: Pass,
    ) -> Result<Tensor> {
        let x = perturbed(x0, targets, pass.draw)?;
        let v = self.projections(&x, pass.draw)?;
        let slices: Vec<Slice> = targets.iter().map(|target| self.slice(target, weight)).collect();
        let slices = score_matching::upload(x.gpu(), &slices)?;
        match self.derivative {
            Derivative::Forward => forward(scorer, &x, &v, targets, &slices, pass),
            Derivative::Difference { eps } => difference(scorer, &x, &v, targets, &slices, eps, pass),
        }
    }

    /// v for each sample.
    fn projections(&self, x: &Tensor, draw: Draw) -> Result<Tensor> {
        let (gpu, shape, key) = (x.gpu(), x.shape(), draw.key(Purpose::Projection));
        match self.projection {
            Projection::Rademacher => fill(gpu, shape, key, Distribution::Rademacher),
            Projection::Sphere => {
                let normal = fill(gpu, shape, key, Distribution::Normal { std: 1.0 })?;
                inner_product::normalise(&normal, (shape.with_n(1).len() as f64).sqrt())
            }
        }
    }

    /// λ = s², or the target's weight times it: twice the loss, as the denoising one has it before its half.
    fn slice(&self, target: &Target, weight: f64) -> Slice {
        let Target { label, marginal, .. } = *target;
        let tangent = match self.derivative {
            Derivative::Forward => label.of_net,
            Derivative::Difference { eps } => label.of_net / (2.0 * eps * marginal.std),
        };
        Slice {
            x: label.of_x as f32,
            net: label.of_net as f32,
            tangent: tangent as f32,
            weight: (weight * target.weight * marginal.std.powi(2)) as f32,
        }
    }
}

fn forward<A: Architecture>(
    scorer: &Scorer<A>,
    x: &Tensor,
    v: &Tensor,
    targets: &[Target],
    slices: &Tensor,
    pass: Pass,
) -> Result<Tensor> {
    let mut dual = Dual::new(pass.tape(), 1);
    let stack = dual.engine.constant(&layout::stack(&[x, v])?);
    let input = dual.variable(stack);
    let conditioning = condition(scorer, targets)?;
    let image = scorer.network(&mut dual, &input, &conditioning, pass.dropout())?;
    let (loss, seed) = score_matching::sliced(image.stack().tensor(), x, v, slices)?;
    dual.engine.backward(image.stack(), seed)?;
    Ok(loss)
}

fn difference<A: Architecture>(
    scorer: &Scorer<A>,
    x: &Tensor,
    v: &Tensor,
    targets: &[Target],
    slices: &Tensor,
    eps: f64,
    pass: Pass,
) -> Result<Tensor> {
    let mut tape = pass.tape();
    let conditioning = condition(scorer, targets)?;
    // One pass for each side, so that both have the same dropout.
    let mut side = |sign: f64| {
        let shift: Vec<f64> = targets.iter().map(|t| sign * eps * t.marginal.std).collect();
        let input = tape.constant(&(x + v * shift).run()?);
        scorer.network(&mut tape, &input, &conditioning, pass.dropout())
    };
    let (above, below) = (side(1.0)?, side(-1.0)?);
    let mean = tape.blend(&above, 0.5, &below, 0.5)?;
    let change = tape.blend(&above, 1.0, &below, -1.0)?;
    let stack = tape.stack(&[mean, change])?;
    let (loss, seed) = score_matching::sliced(stack.tensor(), x, v, slices)?;
    tape.backward(&stack, seed)?;
    Ok(loss)
}
