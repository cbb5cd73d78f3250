//! The loss of a classifier of diffused images: the cross entropy of what it is to say (Song 2021, appendix I.1).

use super::times::Target;
use super::{Draw, condition};
use crate::autodiff::{Engine, Tape};
use crate::kernels::sde_step::{Factors, sde_step_each};
use crate::kernels::{Result, cross_entropy};
use crate::nn::Scorer;
use crate::random::Purpose;
use crate::tensor::Tensor;

/// The mean over a batch; each sample needs its class.
pub(super) fn loss(scorer: &Scorer, x0: &Tensor, targets: &[Target], draw: Draw) -> Result<Tensor> {
    let factors: Vec<Factors> =
        targets.iter().map(|target| Factors::new(&[target.marginal.mean], target.marginal.std)).collect();
    let x = sde_step_each(&[x0], &factors, Some(draw.key(Purpose::Perturbation)))?;
    let mut tape = Tape::new();
    let input = tape.constant(&x);
    let conditioning = condition(scorer, targets)?;
    let logits = scorer.network(&mut tape, &input, &conditioning, Some(draw.dropout()))?;
    let classes: Vec<usize> = targets.iter().filter_map(|target| target.class).collect();
    let classes = cross_entropy::upload(x0.gpu(), &classes, logits.tensor().shape().c())?;
    let (loss, seed) = cross_entropy::mean(logits.tensor(), &classes)?;
    tape.backward(&logits, seed)?;
    Ok(loss)
}
