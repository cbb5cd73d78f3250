//! The loss of a classifier of diffused images: the cross entropy of its labels (Song 2021, appendix I.1).

use super::times::Target;
use super::{Pass, condition, perturbed};
use crate::autodiff::Engine;
use crate::kernels::{Result, cross_entropy};
use crate::nn::{Architecture, Scorer};
use crate::tensor::Tensor;

/// The sum over the samples divided by the size of the batch; each sample needs its class.
pub(super) fn loss<A: Architecture>(
    scorer: &Scorer<A>,
    x0: &Tensor,
    targets: &[Target],
    pass: Pass,
) -> Result<Tensor> {
    let x = perturbed(x0, targets, pass.draw)?;
    let mut tape = pass.tape();
    let input = tape.constant(&x);
    let conditioning = condition(scorer, targets)?;
    let logits = scorer.network(&mut tape, &input, &conditioning, pass.dropout())?;
    let classes: Vec<usize> = targets.iter().filter_map(|target| target.class).collect();
    let classes = cross_entropy::upload(x0.gpu(), &classes, logits.tensor().shape().c())?;
    let (loss, seed) = cross_entropy::total(logits.tensor(), &classes, 1.0 / pass.batch as f32)?;
    tape.backward(&logits, seed)?;
    Ok(loss)
}
