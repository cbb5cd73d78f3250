//! Class-conditional scores: guided by a classifier (Song 2021, section 5), or by a network that is told the class, with or
//! without classifier-free guidance (Ho and Salimans 2022).

use super::score::{Pullback, Score, pullback, tangents};
use crate::autodiff::Eager;
use crate::gpu::Gpu;
use crate::kernels::sde_step::{Factors, sde_step, sde_step_each};
use crate::kernels::{Result, concat};
use crate::nn::{Classifier, Conditioning, Label, Scorer};
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

    /// The gradient at `x` `[n, h, w, c]` and a time of each sample, and its adjoint there. A gradient's derivative is
    /// symmetric: its adjoint is its tangent.
    ///
    /// # Errors
    /// If the device refuses.
    fn pullback(&self, x: &Tensor, times: &[f64]) -> Result<(Tensor, Pullback<'_>)> {
        let gradient = self.gradient(x, times)?;
        let (x, times) = (x.clone(), times.to_vec());
        let pullback = move |u: Tensor| {
            let image = self.tangents(&concat::stack(&[&x, &u])?, 1, &times)?;
            concat::samples(&image, times.len(), times.len())
        };
        Ok((gradient, Box::new(pullback)))
    }
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

    fn pullback(&self, x: &Tensor, labels: &[Label]) -> Result<(Tensor, Pullback<'_>)> {
        let (times, labels) = self.labels(labels);
        let (net, of_net) = self.score.pullback(x, &labels)?;
        let (gradient, of_gradient) = self.guide.pullback(x, &times)?;
        let score = self.sum([x, &net, &gradient], &labels)?;
        let pullback = move |u: Tensor| {
            let factors: Vec<Factors> = labels.iter().map(|l| Factors::new(&[l.score.net], 0.0)).collect();
            let through_net = of_net(sde_step_each(&[&u], &factors, None)?)?;
            let factors = |l: &Label| Factors::new(&[l.score.x, 1.0, self.scale], 0.0);
            let factors: Vec<Factors> = labels.iter().map(factors).collect();
            sde_step_each(&[&u, &through_net, &of_gradient(u.clone())?], &factors, None)
        };
        Ok((score, Box::new(pullback)))
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
    fn combine(&self, labels: &[Label], f: impl Fn(&Conditioning) -> Result<Tensor>) -> Result<Tensor> {
        let told = f(&self.told(labels)?)?;
        match self.weight {
            0.0 => Ok(told),
            w => sde_step(&[(&told, 1.0 + w), (&f(&self.scorer.condition(labels)?)?, -w)], None),
        }
    }

    /// What the network is told for the class.
    fn told(&self, labels: &[Label]) -> Result<Conditioning> {
        self.scorer.condition_on(labels, &vec![Some(self.class); labels.len()])
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
        self.combine(labels, |told| self.scorer.network(&mut Eager, x, told, None))
    }

    fn tangents(&self, stack: &Tensor, probes: usize, labels: &[Label]) -> Result<Tensor> {
        self.combine(labels, |told| tangents(self.scorer, stack, probes, told))
    }

    fn pullback(&self, x: &Tensor, labels: &[Label]) -> Result<(Tensor, Pullback<'_>)> {
        let (told, of_told) = pullback(self.scorer, x, &self.told(labels)?)?;
        if self.weight == 0.0 {
            return Ok((told, of_told));
        }
        let (free, of_free) = pullback(self.scorer, x, &self.scorer.condition(labels)?)?;
        let combine =
            |told: &Tensor, free: &Tensor| sde_step(&[(told, 1.0 + self.weight), (free, -self.weight)], None);
        let net = combine(&told, &free)?;
        let pullback = move |u: Tensor| combine(&of_told(u.clone())?, &of_free(u)?);
        Ok((net, Box::new(pullback)))
    }
}
