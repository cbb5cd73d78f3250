//! Class-conditional scores: guided by a classifier (Song 2021, section 5), or by a class-conditional network, with or without
//! classifier-free guidance (Ho and Salimans 2022).

use crate::gpu::Gpu;
use crate::kernels::combine::Form;
use crate::kernels::layout;
use crate::nn::{Architecture, BuiltIn, Classifier, Scorer};
use crate::sample::error::Result;
use crate::sample::score;
use crate::sample::{Adjoint, Evaluation, Pullback, Score, Tangents, Times};
use crate::sde::Process;
use crate::tensor::Tensor;

/// A likelihood p_t(y | x) of an attribute y.
pub trait Guide {
    /// ∇ₓ log p_t(y | x) at `x` `[n, h, w, c]` and times in (0, 1].
    ///
    /// # Errors
    /// If `t` does not fit the samples.
    fn gradient(&self, x: &Tensor, t: &Times) -> Result<Tensor>;
}

/// A guide that can be differentiated forwards. Its derivative is a Hessian and symmetric: the adjoint is the tangent.
pub trait TangentGuide: Guide {
    /// The gradient for a stack `[x; ẋ₁; …; ẋ_K]` of `[(1 + K) n, h, w, c]`, its tangents included.
    ///
    /// # Errors
    /// If the stack does not divide into samples.
    fn tangents(&self, stack: &Tensor, probes: usize, t: &Times) -> Result<Tensor>;
}

/// A class, by a classifier.
pub struct Toward<'a, A = BuiltIn> {
    /// The classifier.
    pub classifier: &'a Classifier<A>,
    /// The class.
    pub class: usize,
}

impl<A: Architecture> Guide for Toward<'_, A> {
    fn gradient(&self, x: &Tensor, t: &Times) -> Result<Tensor> {
        Ok(self.classifier.gradient(x, &t.each(x.shape().n()), self.class)?)
    }
}

impl<A: Architecture> TangentGuide for Toward<'_, A> {
    fn tangents(&self, stack: &Tensor, probes: usize, t: &Times) -> Result<Tensor> {
        let times = t.each(stack.shape().n() / (1 + probes));
        Ok(self.classifier.tangents(stack, probes, &times, self.class)?)
    }
}

/// ∇ log p_t(x) + scale ∇ log p_t(y | x). It has the derivatives that both the score and the guide have.
pub struct ClassifierGuided<'a, S: ?Sized, G: ?Sized> {
    /// The score without guidance.
    pub score: &'a S,
    /// The guide.
    pub guide: &'a G,
    /// The strength: 1 for p_t(x | y), more for samples more typical of y.
    pub scale: f64,
}

impl<S: Score + ?Sized, G: Guide + ?Sized> Score for ClassifierGuided<'_, S, G> {
    fn gpu(&self) -> &Gpu {
        self.score.gpu()
    }

    fn process(&self) -> &dyn Process {
        self.score.process()
    }

    fn at(&self, x: &Tensor, t: &Times) -> Result<Evaluation> {
        let at = self.score.at(x, t)?;
        let score = at.score() + &self.guide.gradient(x, t)? * self.scale;
        Ok(at.with_score(score))
    }
}

impl<S: Tangents + ?Sized, G: TangentGuide + ?Sized> Tangents for ClassifierGuided<'_, S, G> {
    fn tangents(&self, stack: &Tensor, probes: usize, t: &Times) -> Result<Form> {
        let gradient = self.guide.tangents(stack, probes, t)?;
        Ok(self.score.tangents(stack, probes, t)? + &gradient * self.scale)
    }
}

impl<S: Adjoint + ?Sized, G: TangentGuide + ?Sized> Adjoint for ClassifierGuided<'_, S, G> {
    fn adjoint(&self, x: &Tensor, t: &Times) -> Result<(Evaluation, Pullback<'_>)> {
        let (at, of_score) = self.score.adjoint(x, t)?;
        let score = at.score() + &self.guide.gradient(x, t)? * self.scale;
        let (n, x, t) = (x.shape().n(), x.clone(), t.clone());
        let pullback = move |u: Form| {
            let stack = layout::stack(&[&x, &u.clone().run()?])?;
            let hessian = self.guide.tangents(&stack, 1, &t)?;
            let through_guide = layout::samples(&hessian, n, n)?;
            Ok(of_score(u)? + &through_guide * self.scale)
        };
        Ok((at.with_score(score), Box::new(pullback)))
    }
}

/// The score of a class-conditional network: (1 + w) ∇ log p_t(x | y) − w ∇ log p_t(x).
pub struct ClassConditional<'a, A = BuiltIn> {
    /// The network, trained with classes.
    pub scorer: &'a Scorer<A>,
    /// The class.
    pub class: usize,
    /// w, the weight of classifier-free guidance; 0 for p_t(x | y).
    pub weight: f64,
}

impl<A> ClassConditional<'_, A> {
    /// (1 + w) f(class) − w f(none).
    fn combine(&self, f: impl Fn(Option<usize>) -> Result<Form>) -> Result<Form> {
        let conditional = f(Some(self.class))?;
        match self.weight {
            0.0 => Ok(conditional),
            w => Ok(conditional * (1.0 + w) - f(None)? * w),
        }
    }
}

impl<A: Architecture> Score for ClassConditional<'_, A> {
    fn gpu(&self) -> &Gpu {
        Score::gpu(self.scorer)
    }

    fn process(&self) -> &dyn Process {
        Score::process(self.scorer)
    }

    fn at(&self, x: &Tensor, t: &Times) -> Result<Evaluation> {
        let score = self.combine(|class| Ok(self.scorer.score(x, t, class)?))?;
        Ok(Evaluation::new(x, score, self.process(), t))
    }
}

impl<A: Architecture> Tangents for ClassConditional<'_, A> {
    fn tangents(&self, stack: &Tensor, probes: usize, t: &Times) -> Result<Form> {
        self.combine(|class| Ok(self.scorer.tangents(stack, probes, t, class)?))
    }
}

impl<A: Architecture> Adjoint for ClassConditional<'_, A> {
    fn adjoint(&self, x: &Tensor, t: &Times) -> Result<(Evaluation, Pullback<'_>)> {
        let (at, of_class) = score::adjoint(self.scorer, x, t, Some(self.class))?;
        let w = self.weight;
        if w == 0.0 {
            return Ok((at, of_class));
        }
        let (free, of_none) = score::adjoint(self.scorer, x, t, None)?;
        let score = at.score() * (1.0 + w) - free.score() * w;
        let pullback = move |u: Form| Ok(of_class(u.clone())? * (1.0 + w) - of_none(u)? * w);
        Ok((at.with_score(score), Box::new(pullback)))
    }
}
