//! A classifier of diffused images: its logits, and the gradient of a class's log probability in the image.

use super::network::{Architecture, BuiltIn};
use super::score::Scorer;
use crate::autodiff::{Dual, Eager, Tape};
use crate::gpu::Gpu;
use crate::kernels::{Result, cross_entropy, elementwise, layout, softmax};
use crate::sde::Process;
use crate::tensor::Tensor;

/// p_t(y | x) of a process (Song 2021, appendix I.1).
#[derive(Clone)]
pub struct Classifier<A = BuiltIn> {
    scorer: Scorer<A>,
    classes: usize,
}

impl<A: Architecture> Classifier<A> {
    /// A classifier from its model; `None` if it is a score model.
    pub fn new(scorer: Scorer<A>) -> Option<Self> {
        let classes = scorer.model.network.logits()?;
        Some(Classifier { scorer, classes })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The device it is on.
    pub fn gpu(&self) -> &Gpu {
        self.scorer.gpu()
    }

    /// The process of its training.
    pub fn process(&self) -> &dyn Process {
        &*self.scorer.model.process
    }

    /// Logits `[n, 1, 1, k]` of `x` `[n, h, w, c]` in the data's range, at a time in (0, 1] of each sample.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn logits(&self, x: &Tensor, times: &[f64]) -> Result<Tensor> {
        self.scorer.network(&mut Eager, x, &self.scorer.condition(times)?, None)
    }

    /// ∇ₓ log p_t(class | x), `[n, h, w, c]`.
    ///
    /// # Errors
    /// If there is no such class, or the device refuses.
    pub fn gradient(&self, x: &Tensor, times: &[f64], class: usize) -> Result<Tensor> {
        let mut tape = Tape::new();
        let input = tape.variable(x);
        let conditioning = self.scorer.condition(times)?;
        let logits = self.scorer.network(&mut tape, &input, &conditioning, None)?;
        let seed = self.residual(logits.tensor(), class)?;
        let gradient = tape.backward(&logits, seed)?.take(&input);
        gradient.map_or_else(|| layout::zeros_like(x), Ok)
    }

    /// For a stack `[x; ẋ₁; …; ẋ_K]` of `[(1 + K) n, h, w, c]`, the gradient and the Hessian of log p_t(class
    /// | x) times each tangent, by reverse over forward.
    ///
    /// # Errors
    /// If there is no such class, or the device refuses.
    pub fn tangents(&self, stack: &Tensor, probes: usize, times: &[f64], class: usize) -> Result<Tensor> {
        let n = times.len();
        let x = layout::samples(stack, 0, n)?;
        if probes == 0 {
            return self.gradient(&x, times, class);
        }
        let conditioning = self.scorer.condition(times)?;
        let mut parts = Vec::new();
        for k in 1..=probes {
            let mut dual = Dual::new(Tape::new(), 1);
            let pair = layout::stack(&[&x, &layout::samples(stack, k * n, n)?])?;
            let pair = dual.engine.variable(&pair);
            let input = dual.variable(pair.clone());
            let logits = self.scorer.network(&mut dual, &input, &conditioning, None)?;
            // With r = one-hot − softmax(f): ∇ log p = Jᵀ r, and its tangent is Jᵀ ṙ + ∂ₓ⟨r, J ẋ⟩, where ṙ =
            // −softmax′ ḟ. On the tape the cotangents ṙ of f and r of ḟ give that tangent to x, and Jᵀ r to
            // ẋ.
            let (f, projected) = (logits.stack().tensor(), softmax::forward(logits.stack().tensor(), 1)?);
            let r = self.residual(&layout::samples(f, 0, n)?, class)?;
            let change = elementwise::affine(&layout::samples(&projected, n, n)?, -1.0, 0.0, 0)?;
            let seed = layout::stack(&[&change, &r])?;
            let gradient = dual.engine.backward(logits.stack(), seed)?.take(&pair);
            let gradient = gradient.map_or_else(|| layout::zeros_like(pair.tensor()), Ok)?;
            if k == 1 {
                parts.push(layout::samples(&gradient, n, n)?);
            }
            parts.push(layout::samples(&gradient, 0, n)?);
        }
        layout::stack(&parts.iter().collect::<Vec<_>>())
    }

    /// one-hot − softmax(logits), the gradient of log p(class) in the logits.
    fn residual(&self, logits: &Tensor, class: usize) -> Result<Tensor> {
        let n = logits.shape().n();
        let labels = cross_entropy::upload(logits.gpu(), &vec![class; n], self.classes)?;
        Ok(cross_entropy::cross_entropy(logits, &labels, -1.0)?.1)
    }
}
