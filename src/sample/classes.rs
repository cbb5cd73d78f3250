//! Class-conditional scores: guided by a classifier (Song 2021, section 5), or by a network that is told the class, with or
//! without classifier-free guidance (Ho and Salimans 2022).

use super::score::Score;
use crate::autodiff::{Dual, Eager};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::sde_step::{Factors, sde_step, sde_step_each};
use crate::nn::{Classifier, Label, Scorer};
use crate::sde::Sde;
use crate::tensor::Tensor;

/// A likelihood p_t(y | x) of something that samples are to have.
pub trait Guide {
    /// ∇ₓ log p_t(y | x) at `x` `[n, h, w, c]` and a time in (0, 1] of each sample.
    ///
    /// # Errors
    /// If the device refuses.
    fn gradient(&self, x: &Tensor, times: &[f64]) -> Result<Tensor>;

    /// The gradient for a stack `[x; ẋ₁; …; ẋ_K]` of `[(1 + K) n, h, w, c]`, its tangents included.
    ///
    /// # Errors
    /// If the device refuses.
    fn tangents(&self, stack: &Tensor, probes: usize, times: &[f64]) -> Result<Tensor>;
}

/// A class, told by a classifier.
pub struct Toward<'a> {
    /// The classifier.
    pub classifier: &'a Classifier,
    /// The class that is asked for.
    pub class: usize,
}

impl Guide for Toward<'_> {
    fn gradient(&self, x: &Tensor, times: &[f64]) -> Result<Tensor> {
        self.classifier.gradient(x, times, self.class)
    }

    fn tangents(&self, stack: &Tensor, probes: usize, times: &[f64]) -> Result<Tensor> {
        self.classifier.tangents(stack, probes, times, self.class)
    }
}

/// ∇ log p_t(x) + scale ∇ log p_t(y | x). What it gives is the score itself, and its label holds the time.
pub struct ClassifierGuided<'a> {
    /// The score without guidance.
    pub score: &'a dyn Score,
    /// What guides it.
    pub guide: &'a dyn Guide,
    /// How strongly: 1 for p_t(x | y), more for what is more typical of y.
    pub scale: f64,
}

impl ClassifierGuided<'_> {
    fn labels(&self, labels: &[Label]) -> (Vec<f64>, Vec<Label>) {
        let times: Vec<f64> = labels.iter().map(|label| label.label).collect();
        let labels = times.iter().map(|t| self.score.label(*t)).collect();
        (times, labels)
    }

    /// The score of stacks of the state, the network's output and the guide's gradient.
    fn sum(&self, [x, net, gradient]: [&Tensor; 3], labels: &[Label]) -> Result<Tensor> {
        let factors = |label: &Label| Factors::new(&[label.score.x, label.score.net, self.scale], 0.0);
        let factors: Vec<Factors> = labels.iter().map(factors).collect();
        sde_step_each(&[x, net, gradient], &factors.repeat(x.shape().n() / labels.len()), None)
    }
}

impl Score for ClassifierGuided<'_> {
    fn gpu(&self) -> &Gpu {
        self.score.gpu()
    }

    fn sde(&self) -> &Sde {
        self.score.sde()
    }

    fn label(&self, t: f64) -> Label {
        Label::of_score(t)
    }

    fn network(&self, x: &Tensor, labels: &[Label]) -> Result<Tensor> {
        let (times, labels) = self.labels(labels);
        let net = self.score.network(x, &labels)?;
        self.sum([x, &net, &self.guide.gradient(x, &times)?], &labels)
    }

    fn tangents(&self, stack: &Tensor, probes: usize, labels: &[Label]) -> Result<Tensor> {
        let (times, labels) = self.labels(labels);
        let net = self.score.tangents(stack, probes, &labels)?;
        self.sum([stack, &net, &self.guide.tangents(stack, probes, &times)?], &labels)
    }
}

/// The score of a network that is told the class: (1 + w) ∇ log p_t(x | y) − w ∇ log p_t(x).
pub struct Conditional<'a> {
    /// The network, trained with classes.
    pub scorer: &'a Scorer,
    /// The class that is asked for.
    pub class: usize,
    /// w, the weight of classifier-free guidance; 0 for p_t(x | y).
    pub weight: f64,
}

impl Conditional<'_> {
    /// (1 + w) f(class) − w f(none): outputs combine as scores do, of which they are the same combinations.
    fn combine(&self, f: impl Fn(Option<usize>) -> Result<Tensor>) -> Result<Tensor> {
        let told = f(Some(self.class))?;
        match self.weight {
            0.0 => Ok(told),
            w => sde_step(&[(&told, 1.0 + w), (&f(None)?, -w)], None),
        }
    }
}

impl Score for Conditional<'_> {
    fn gpu(&self) -> &Gpu {
        Score::gpu(self.scorer)
    }

    fn sde(&self) -> &Sde {
        Score::sde(self.scorer)
    }

    fn label(&self, t: f64) -> Label {
        self.scorer.model.label(t)
    }

    fn network(&self, x: &Tensor, labels: &[Label]) -> Result<Tensor> {
        self.combine(|class| {
            let conditioning = self.scorer.condition_on(labels, &vec![class; labels.len()])?;
            self.scorer.network(&mut Eager, x, &conditioning, None)
        })
    }

    fn tangents(&self, stack: &Tensor, probes: usize, labels: &[Label]) -> Result<Tensor> {
        self.combine(|class| {
            let conditioning = self.scorer.condition_on(labels, &vec![class; labels.len()])?;
            let mut dual = Dual::new(Eager, probes);
            let variable = dual.variable(stack.clone());
            let image = self.scorer.network(&mut dual, &variable, &conditioning, None)?;
            Ok(image.stack().clone())
        })
    }
}
