//! What training minimises: a value that draws a time for each sample and leaves the gradient of its loss in the parameters.

mod classifier;
mod denoising;
mod sliced;
mod times;

use crate::config::{self, Config};
use crate::kernels::Result;
use crate::kernels::combine::{Factor, Form};
use crate::kernels::random::Noise;
use crate::nn::{Architecture, Conditioning, Label, ScoreModel, Scorer};
use crate::random::{Draw, Purpose};
use crate::sde::{Chain, DdpmChain};
use crate::tensor::Tensor;
use denoising::{Denoising, Error};
use sliced::{Derivative, Sliced};
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

    /// The loss of a batch `x0` `[n, h, w, c]` in the model's range, in four lanes that have yet to be added. `classes` are
    /// the labels: an input of a class-conditional network, the targets of a classifier. The gradient is written into
    /// the parameters' arena. Nothing is read back.
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
        let n = x0.shape().n();
        let key = draw.key(Purpose::Time);
        let target = |(sample, class): (u32, &Option<usize>)| Target {
            class: *class,
            ..self.times.target(&scorer.model, key, sample)
        };
        let targets: Vec<Target> = (0..n as u32).zip(classes).map(target).collect();
        let weight = self.reduction / n as f64;
        match &self.loss {
            Loss::Denoising(denoising) => denoising.loss(scorer, x0, &targets, weight, draw),
            Loss::Sliced(sliced) => sliced.loss(scorer, x0, &targets, weight, draw),
            Loss::Classifier => classifier::loss(scorer, x0, &targets, draw),
        }
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
