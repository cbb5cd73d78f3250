//! The score, as samplers see it: one question, and an answer that is a linear form of tensors.

use super::error::Result;
use crate::gpu::Gpu;
use crate::kernels::combine::{Factor, Form};
use crate::kernels::{elementwise, layout};
use crate::nn::{Architecture, Scorer};
use crate::sde::Process;
use crate::tensor::Tensor;

/// Takes a cotangent of a score, as a form of tensors of its shape, to that of the state: u ↦ (∂score/∂x)ᵀ u.
pub type Pullback<'a> = Box<dyn FnOnce(Form) -> Result<Form> + 'a>;

/// A time in (0, 1] for all samples, or one for each.
pub type Times = Factor;

/// A score ∇ log p_t(x) at every time of a process: a network's, with guidance or without, or that of a distribution in closed
/// form.
///
/// ```
/// use tweedie::gpu::Gpu;
/// use tweedie::sample::{Evaluation, Result, Score, Times};
/// use tweedie::sde::{Process, Ve};
/// use tweedie::tensor::Tensor;
///
/// /// Data N(0, I): x(t) is normal with variance m² + s².
/// struct Normal {
///     gpu: Gpu,
///     process: Ve,
/// }
///
/// impl Score for Normal {
///     fn gpu(&self) -> &Gpu {
///         &self.gpu
///     }
///     fn process(&self) -> &dyn Process {
///         &self.process
///     }
///     fn at(&self, x: &Tensor, t: &Times) -> Result<Evaluation> {
///         let precision = t.map(|t| {
///             let marginal = self.process.marginal_prob(t);
///             1.0 / (marginal.mean.powi(2) + marginal.std.powi(2))
///         });
///         Ok(Evaluation::new(x, -(x * precision), &self.process, t))
///     }
/// }
/// ```
pub trait Score {
    /// The device it is evaluated on.
    fn gpu(&self) -> &Gpu;

    /// The process.
    fn process(&self) -> &dyn Process;

    /// The score at `x` `[n, h, w, c]` and times in (0, 1].
    ///
    /// # Errors
    /// If `t` does not fit the samples.
    fn at(&self, x: &Tensor, t: &Times) -> Result<Evaluation>;
}

/// A score that can be differentiated forwards: what a likelihood needs.
pub trait Tangents: Score {
    /// The score and its tangents for a stack `[x; ẋ₁; …; ẋ_K]` of `[(1 + K) n, h, w, c]` and times of the n samples.
    ///
    /// # Errors
    /// If the stack does not divide into samples.
    fn tangents(&self, stack: &Tensor, probes: usize, t: &Times) -> Result<Form>;
}

/// A score that can be differentiated backwards: what guidance by a measurement needs.
pub trait Adjoint: Score {
    /// The score at `x` `[n, h, w, c]` and its adjoint there, u ↦ (∂score/∂x)ᵀ u.
    ///
    /// # Errors
    /// If `t` does not fit the samples.
    fn adjoint(&self, x: &Tensor, t: &Times) -> Result<(Evaluation, Pullback<'_>)>;
}

/// A score with both derivatives.
pub trait Differentiable: Tangents + Adjoint {}

impl<S: Tangents + Adjoint> Differentiable for S {}

/// A score at some states and times. Nothing is computed until a form is run, so that a solver's step costs no pass of its
/// own over the score.
#[derive(Clone)]
pub struct Evaluation {
    x: Tensor,
    score: Form,
    /// m and σ = s / m.
    mean: Factor,
    sigma: Factor,
}

impl Evaluation {
    /// The evaluation whose score at states `x` `[n, h, w, c]` and times `t` is a form of `x` and other tensors of its shape.
    pub fn new(x: &Tensor, score: Form, process: &dyn Process, t: &Times) -> Evaluation {
        let (mean, sigma) = (t.map(|t| process.level(t).mean), t.map(|t| process.level(t).sigma));
        Evaluation { x: x.clone(), score, mean, sigma }
    }

    /// ∇ log p_t(x).
    pub fn score(&self) -> Form {
        self.score.clone()
    }

    /// D(x; σ) = E[x₀ | x] = (x + s² score) / m (Tweedie's formula).
    pub fn denoised(&self) -> Form {
        &self.x / &self.mean + self.score() * self.gain()
    }

    /// E[z | x] = −s score, where x = m x₀ + s z.
    pub fn noise(&self) -> Form {
        self.score() * self.mean.zip(&self.sigma, |mean, sigma| -mean * sigma)
    }

    /// The evaluation whose denoised data are clipped to `most` on either side of 0: the score is that of the clipped data.
    ///
    /// # Errors
    /// If the device refuses.
    pub(super) fn clipped(self, most: f64) -> Result<Evaluation> {
        let clipped = elementwise::clamp(&self.denoised().run()?, -most as f32, most as f32)?;
        // (m x₀ − x) / s².
        let inverse = self.gain().map(|gain| 1.0 / gain);
        let of_x = inverse.zip(&self.mean, |inverse, mean| -inverse / mean);
        let score = &clipped * &inverse + &self.x * &of_x;
        Ok(self.with_score(score))
    }

    /// s² / m, the factor of the score in the denoised data.
    pub(super) fn gain(&self) -> Factor {
        self.mean.zip(&self.sigma, |mean, sigma| mean * sigma * sigma)
    }

    /// The evaluation at some of the states, by their numbers.
    pub(super) fn gather(&self, picks: &[usize]) -> Result<Evaluation> {
        let of = |x: &Tensor| layout::gather(x, x, picks);
        let factor = |factor: &Factor| match factor {
            Factor::All(value) => Factor::All(*value),
            each => Factor::Each(picks.iter().map(|pick| each.get(*pick)).collect()),
        };
        let score = Form::from(&of(&self.score().run()?)?);
        Ok(Evaluation { x: of(&self.x)?, score, mean: factor(&self.mean), sigma: factor(&self.sigma) })
    }

    /// The evaluation with another score at the same states and times.
    pub(super) fn with_score(self, score: Form) -> Evaluation {
        Evaluation { score, ..self }
    }
}

impl<A: Architecture> Score for Scorer<A> {
    fn gpu(&self) -> &Gpu {
        Scorer::gpu(self)
    }

    fn process(&self) -> &dyn Process {
        &*self.model.process
    }

    fn at(&self, x: &Tensor, t: &Times) -> Result<Evaluation> {
        Ok(Evaluation::new(x, self.score(x, t, None)?, &*self.model.process, t))
    }
}

impl<A: Architecture> Tangents for Scorer<A> {
    fn tangents(&self, stack: &Tensor, probes: usize, t: &Times) -> Result<Form> {
        Ok(Scorer::tangents(self, stack, probes, t, None)?)
    }
}

impl<A: Architecture> Adjoint for Scorer<A> {
    fn adjoint(&self, x: &Tensor, t: &Times) -> Result<(Evaluation, Pullback<'_>)> {
        adjoint(self, x, t, None)
    }
}

/// A network's score and its adjoint, given a class or none.
pub(super) fn adjoint<A: Architecture>(
    scorer: &Scorer<A>,
    x: &Tensor,
    t: &Times,
    class: Option<usize>,
) -> Result<(Evaluation, Pullback<'static>)> {
    let (score, pullback) = scorer.adjoint(x, t, class)?;
    let at = Evaluation::new(x, score, &*scorer.model.process, t);
    Ok((at, Box::new(move |u| Ok(pullback(u)?))))
}
