//! What samplers ask of a model.

use super::refuse;
use crate::autodiff::{Dual, Eager, Tape};
use crate::gpu::Gpu;
use crate::kernels::{Result, sde_step};
use crate::nn::{Conditioning, Label, Scorer};
use crate::sde::Sde;
use crate::tensor::Tensor;
use std::cell::Cell;

/// Takes a cotangent of a network's output, of its shape, to that of its input: Jᵀ u.
pub type Pullback<'a> = Box<dyn FnOnce(Tensor) -> Result<Tensor> + 'a>;

/// Something with a score at every time of a process: a network, a network with guidance, or a distribution whose score is
/// known in closed form.
///
/// Samplers take the score as a combination of the state and what [`Score::network`] gives ([`Label::score`]), so that
/// it costs no pass of its own.
pub trait Score {
    /// The device it is evaluated on.
    fn gpu(&self) -> &Gpu;

    /// The process.
    fn sde(&self) -> &Sde;

    /// What belongs to a time in (0, 1].
    fn label(&self, t: f64) -> Label;

    /// The network's output for `x` `[n, h, w, c]` and a label of each sample.
    ///
    /// # Errors
    /// If the device refuses.
    fn network(&self, x: &Tensor, labels: &[Label]) -> Result<Tensor>;

    /// The network's output for a stack `[x; ẋ₁; …; ẋ_K]` of `[(1 + K) n, h, w, c]`, its tangents included; a label of each of
    /// the n samples.
    ///
    /// # Errors
    /// If the device refuses.
    fn tangents(&self, stack: &Tensor, probes: usize, labels: &[Label]) -> Result<Tensor>;

    /// The network's output for `x` `[n, h, w, c]` and a label of each sample, and its adjoint there.
    ///
    /// # Errors
    /// If the device refuses, or there is no adjoint.
    fn pullback(&self, _x: &Tensor, _labels: &[Label]) -> Result<(Tensor, Pullback<'_>)> {
        Err(refuse("this score has no adjoint"))
    }

    /// The score at `x` `[n, h, w, c]` and a time in (0, 1] of each sample.
    ///
    /// # Errors
    /// If the device refuses.
    fn score(&self, x: &Tensor, times: &[f64]) -> Result<Tensor> {
        let labels: Vec<Label> = times.iter().map(|t| self.label(*t)).collect();
        let net = self.network(x, &labels)?;
        let factors: Vec<sde_step::Factors> =
            labels.iter().map(|l| sde_step::Factors::new(&[l.score.x, l.score.net], 0.0)).collect();
        sde_step::sde_step_each(&[x, &net], &factors, None)
    }
}

impl Score for Scorer {
    fn gpu(&self) -> &Gpu {
        self.parameters.values.flat().gpu()
    }

    fn sde(&self) -> &Sde {
        &self.model.sde
    }

    fn label(&self, t: f64) -> Label {
        self.model.label(t)
    }

    fn network(&self, x: &Tensor, labels: &[Label]) -> Result<Tensor> {
        Scorer::network(self, &mut Eager, x, &self.condition(labels)?, None)
    }

    fn tangents(&self, stack: &Tensor, probes: usize, labels: &[Label]) -> Result<Tensor> {
        tangents(self, stack, probes, &self.condition(labels)?)
    }

    fn pullback(&self, x: &Tensor, labels: &[Label]) -> Result<(Tensor, Pullback<'_>)> {
        pullback(self, x, &self.condition(labels)?)
    }
}

/// [`Score::tangents`] of a network that is told this.
pub(super) fn tangents(
    scorer: &Scorer,
    stack: &Tensor,
    probes: usize,
    told: &Conditioning,
) -> Result<Tensor> {
    let mut dual = Dual::new(Eager, probes);
    let variable = dual.variable(stack.clone());
    let image = scorer.network(&mut dual, &variable, told, None)?;
    Ok(image.stack().clone())
}

/// [`Score::pullback`] of a network that is told this.
pub(super) fn pullback<'a>(
    scorer: &Scorer,
    x: &Tensor,
    told: &Conditioning,
) -> Result<(Tensor, Pullback<'a>)> {
    let mut tape = Tape::new();
    let variable = tape.variable(x);
    let output = scorer.network(&mut tape, &variable, told, None)?;
    let net = output.tensor().clone();
    let pullback = move |seed: Tensor| {
        let gradient = tape.backward(&output, seed)?.take(&variable);
        gradient.ok_or_else(|| refuse("the network's output does not depend on the state"))
    };
    Ok((net, Box::new(pullback)))
}

/// A score whose evaluations are counted, one for each call.
pub struct Counted<'a> {
    score: &'a dyn Score,
    count: Cell<usize>,
}

impl<'a> Counted<'a> {
    /// None so far.
    pub fn new(score: &'a dyn Score) -> Self {
        Counted { score, count: Cell::new(0) }
    }

    /// Evaluations since it was made.
    pub fn count(&self) -> usize {
        self.count.get()
    }
}

impl Score for Counted<'_> {
    fn gpu(&self) -> &Gpu {
        self.score.gpu()
    }

    fn sde(&self) -> &Sde {
        self.score.sde()
    }

    fn label(&self, t: f64) -> Label {
        self.score.label(t)
    }

    fn network(&self, x: &Tensor, labels: &[Label]) -> Result<Tensor> {
        self.count.set(self.count.get() + 1);
        self.score.network(x, labels)
    }

    fn tangents(&self, stack: &Tensor, probes: usize, labels: &[Label]) -> Result<Tensor> {
        self.count.set(self.count.get() + 1);
        self.score.tangents(stack, probes, labels)
    }

    fn pullback(&self, x: &Tensor, labels: &[Label]) -> Result<(Tensor, Pullback<'_>)> {
        self.count.set(self.count.get() + 1);
        self.score.pullback(x, labels)
    }
}
