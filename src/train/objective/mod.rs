//! The objective of training: a value that draws a time for each sample and leaves the gradient of its loss in
//! the parameters.

mod classifier;
mod denoising;
mod sliced;
mod times;

use crate::autodiff::Tape;
use crate::config::{self, Config};
use crate::kernels::Result;
use crate::kernels::combine::{Factor, Form};
use crate::kernels::random::Noise;
use crate::nn::{Architecture, Conditioning, Label, Parameters, ScoreModel, Scorer};
use crate::random::{Draw, Purpose};
use crate::sde::{Chain, DdpmChain, Marginal};
use crate::tensor::Tensor;
use denoising::{Denoising, Error};
use sliced::{Derivative, Sliced};
use std::ops::Range;
use times::{Target, Times};

/// An objective: `training.objective` with all it depends on.
#[derive(Debug, Clone)]
pub struct Objective {
    times: Times,
    loss: Loss,
    /// A sum over the pixels of a sample times this is what counts of it: half of it, or the mean.
    reduction: f64,
}

#[derive(Debug, Clone)]
enum Loss {
    Denoising(Denoising),
    Sliced(Sliced),
    Classifier,
}

/// The noise that a step adds to the data.
fn noise(draw: Draw) -> Noise<'static> {
    Noise::Drawn(draw.key(Purpose::Perturbation))
}

impl Objective {
    /// The objective that a configuration describes, for a model.
    pub fn new<A: Architecture>(config: &Config, model: &ScoreModel<A>) -> Objective {
        let training = &config.training;
        let denoising = |error| Loss::Denoising(Denoising { error, low: config.data.low() });
        let loss = match training.objective {
            config::ObjectiveName::Dsm | config::ObjectiveName::Smld => denoising(Error::Noise),
            config::ObjectiveName::Ddpm | config::ObjectiveName::Edm => denoising(Error::Prediction),
            config::ObjectiveName::Vlb => {
                let chain = DdpmChain::new(Chain::new(&*model.process, config.model.num_scales));
                denoising(Error::Bound(chain, training.posterior_variance))
            }
            config::ObjectiveName::Ssm => {
                Loss::Sliced(Sliced { derivative: Derivative::Forward, projection: training.projection })
            }
            config::ObjectiveName::FdSsm => {
                let derivative = Derivative::Difference { eps: training.fd_eps };
                Loss::Sliced(Sliced { derivative, projection: training.projection })
            }
            config::ObjectiveName::Classifier => Loss::Classifier,
        };
        let dimensions = config.data.shape().iter().product::<usize>() as f64;
        // The bound is a number of nats, whole or of each dimension.
        let whole = if training.objective == config::ObjectiveName::Vlb { 1.0 } else { 0.5 };
        let reduction = if training.reduce_mean { 1.0 / dimensions } else { whole };
        Objective { times: Times::new(config, model), loss, reduction }
    }

    /// The loss of a batch `x0` `[n, h, w, c]` in the model's range, in four lanes that have yet to be added.
    /// `classes` are
    /// the labels: an input of a class-conditional network, the targets of a classifier. The gradient is
    /// written into the parameters' arena. Nothing is read back.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn loss<A: Architecture>(
        &self,
        scorer: &Scorer<A>,
        x0: &Tensor,
        classes: &[Option<usize>],
        draw: Draw,
    ) -> Result<Tensor> {
        let targets = self.targets(scorer, classes, draw);
        let pass = Pass { draw, dropout: true, adding: false, batch: x0.shape().n() };
        self.loss_at(scorer, x0, &targets, pass)
    }

    /// The loss of a part of a batch of `batch` samples: its share of the batch's loss. The gradient is added
    /// to what the parameters' arena holds. Random numbers follow from the number of a sample in the batch,
    /// which `draw` counts from.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn add_part<A: Architecture>(
        &self,
        scorer: &Scorer<A>,
        x0: &Tensor,
        classes: &[Option<usize>],
        draw: Draw,
        batch: usize,
    ) -> Result<Tensor> {
        let targets = self.targets(scorer, classes, draw);
        self.loss_at(scorer, x0, &targets, Pass { draw, dropout: true, adding: true, batch })
    }

    /// The targets of the samples with these classes.
    fn targets<A: Architecture>(
        &self,
        scorer: &Scorer<A>,
        classes: &[Option<usize>],
        draw: Draw,
    ) -> Vec<Target> {
        let key = draw.key(Purpose::Time);
        let target = |(sample, class): (u32, &Option<usize>)| Target {
            class: *class,
            ..self.times.target(&scorer.model, key, sample)
        };
        (0..).zip(classes).map(target).collect()
    }

    /// The loss of a batch without dropout and without a gradient, at noise levels between two quantiles,
    /// from 0 to 1, of those that training draws. Over all quantiles its mean is that of [`Objective::loss`].
    ///
    /// # Errors
    /// If the device refuses.
    pub fn value<A: Architecture>(
        &self,
        scorer: &Scorer<A>,
        x0: &Tensor,
        classes: &[Option<usize>],
        quantiles: Range<f64>,
        draw: Draw,
    ) -> Result<Tensor> {
        let key = draw.key(Purpose::Time);
        let target = |(sample, class): (u32, &Option<usize>)| {
            let [u, ..] = key.uniform(sample, 0).map(f64::from);
            let u = quantiles.start + (quantiles.end - quantiles.start) * u;
            Target { class: *class, ..self.times.quantile(&scorer.model, u) }
        };
        let targets: Vec<Target> = (0..).zip(classes).map(target).collect();
        // Parameters without a destination for their gradient are constants of the tape, which then records
        // nothing.
        let parameters = Parameters { gradients: None, ..scorer.parameters.clone() };
        let scorer = Scorer { model: scorer.model.clone(), parameters };
        let pass = Pass { draw, dropout: false, adding: false, batch: x0.shape().n() };
        self.loss_at(&scorer, x0, &targets, pass)
    }

    /// σ = s / m at a quantile of the noise levels that training draws.
    pub fn noise_level<A: Architecture>(&self, model: &ScoreModel<A>, quantile: f64) -> f64 {
        let Marginal { mean, std } = self.times.quantile(model, quantile).marginal;
        std / mean
    }

    fn loss_at<A: Architecture>(
        &self,
        scorer: &Scorer<A>,
        x0: &Tensor,
        targets: &[Target],
        pass: Pass,
    ) -> Result<Tensor> {
        let weight = self.reduction / pass.batch as f64;
        match &self.loss {
            Loss::Denoising(denoising) => denoising.loss(scorer, x0, targets, weight, pass),
            Loss::Sliced(sliced) => sliced.loss(scorer, x0, targets, weight, pass),
            Loss::Classifier => classifier::loss(scorer, x0, targets, pass),
        }
    }
}

/// A pass of a batch, or of a part of one, through the network.
#[derive(Clone, Copy)]
struct Pass {
    draw: Draw,
    dropout: bool,
    /// Gradients are added to the contents of the arena, not written over them.
    adding: bool,
    /// The samples of the whole batch.
    batch: usize,
}

impl Pass {
    fn tape(self) -> Tape {
        if self.adding { Tape::adding() } else { Tape::new() }
    }

    fn dropout(self) -> Option<Draw> {
        self.dropout.then_some(self.draw)
    }
}

/// The forward process run to the times of samples: x = m x₀ + s z.
fn perturbed(x0: &Tensor, targets: &[Target], draw: Draw) -> Result<Tensor> {
    let factor = |of: fn(&Target) -> f64| Factor::Each(targets.iter().map(of).collect());
    let z = Form::normal(draw.key(Purpose::Perturbation));
    (x0 * factor(|target| target.marginal.mean) + z * factor(|target| target.marginal.std)).run()
}

/// The conditioning of each sample.
fn condition<A: Architecture>(scorer: &Scorer<A>, targets: &[Target]) -> Result<Conditioning> {
    let labels: Vec<Label> = targets.iter().map(|target| target.label).collect();
    let classes: Vec<Option<usize>> = targets.iter().map(|target| target.class).collect();
    scorer.condition_on(&labels, &classes)
}
