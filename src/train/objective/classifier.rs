//! The loss of a classifier of diffused images: the cross entropy of its labels (Song 2021, appendix I.1).

use super::times::Target;
use super::{Draw, condition, perturbed};
use crate::autodiff::{Engine, Tape};
use crate::kernels::{Result, cross_entropy};
use crate::nn::{Architecture, Scorer};
use crate::tensor::Tensor;

/// The mean over a batch; each sample needs its class.
pub(super) fn loss<A: Architecture>(
    scorer: &Scorer<A>,
    x0: &Tensor,
    targets: &[Target],
    draw: Draw,
) -> Result<Tensor> {
    let x = perturbed(x0, targets, draw)?;
    let mut tape = Tape::new();
    let input = tape.constant(&x);
    let conditioning = condition(scorer, targets)?;
    let logits = scorer.network(&mut tape, &input, &conditioning, Some(draw))?;
    let classes: Vec<usize> = targets.iter().filter_map(|target| target.class).collect();
    let classes = cross_entropy::upload(x0.gpu(), &classes, logits.tensor().shape().c())?;
    let (loss, seed) = cross_entropy::mean(logits.tensor(), &classes)?;
    tape.backward(&logits, seed)?;
    Ok(loss)
}
