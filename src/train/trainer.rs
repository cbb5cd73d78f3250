//! The optimisation step.

use super::TrainError;
use super::classes;
use super::held_out::LEVELS;
use super::objective::Objective;
use crate::choice::Choice;
use crate::config::{self, Config};
use crate::data::{Batch, Fingerprint};
use crate::gpu::Gpu;
use crate::kernels::adam::{self, Adam, Arenas};
use crate::kernels::elementwise;
use crate::nn::{Architecture, Arena, BuiltIn, Parameters, ScoreModel, Scorer};
use crate::random::Draw;
use crate::tensor::{Shape, Tensor};
use std::collections::VecDeque;
use std::ops::Range;

/// A model in training: weights, their average, the optimiser's moments, and the number of steps made. All
/// randomness and the order of the data follow from the seed and that number.
///
/// [`Run`](super::Run) trains in a run folder, with checkpoints; a loop of one's own steps a trainer itself:
///
/// ```no_run
/// use tweedie::data::{Dataset, Loader, Split};
/// use tweedie::prelude::*;
///
/// let gpu = Gpu::open(None)?;
/// let config = Config::preset("digits_ve")?;
/// let data = Dataset::load(&config.data, Split::Train)?;
/// let mut trainer = Trainer::new(&gpu, &config)?;
/// let mut loader = Loader::new(data, &config.data, config.training.batch_size, config.seed)?;
/// for step in 0..100 {
///     trainer.step(&loader.batch(step)?)?;
/// }
/// println!("loss {:.2}", trainer.loss()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Trainer<A = BuiltIn> {
    /// The configuration.
    pub config: Config,
    /// The model with its raw weights.
    pub scorer: Scorer<A>,
    /// The weights' exponential moving average.
    pub average: Arena,
    /// Adam's first and second moment.
    pub moments: [Arena; 2],
    /// Steps made.
    pub step: u64,
    /// Steps that the moments average over: fewer, if a model was imported without moments.
    pub updates: u64,
    /// The images that it is trained on, if a [`Run`](super::Run) has set them.
    pub data: Option<Fingerprint>,
    objective: Objective,
    /// Parts of a batch.
    parts: usize,
    /// The gradient of the weights.
    gradients: Arena,
    /// The sum of the losses since the last report, in four lanes, and their number.
    running: (Tensor, u64),
    /// Norm and clipping factor of the last gradient.
    norm: Option<Tensor>,
    /// The losses of the last steps since the last report, to tell at which step they left the finite
    /// numbers.
    recent: VecDeque<(u64, Tensor)>,
}

/// The largest number of losses that are kept.
const RECENT: usize = 64;

/// Loss and gradient since the last report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The loss, averaged over the steps since the last report.
    pub loss: f64,
    /// The last gradient's global norm, before clipping.
    pub grad_norm: f64,
    /// The last step's learning rate.
    pub learning_rate: f64,
}

impl Trainer {
    /// The freshly initialised model of a configuration.
    ///
    /// # Errors
    /// If the configuration is not possible ([`Config::validated`]), or the device has no room for the model.
    pub fn new(gpu: &Gpu, config: &Config) -> Result<Trainer, TrainError> {
        Trainer::fresh(gpu, config, ScoreModel::build(config)?)
    }
}

impl<A: Architecture> Trainer<A> {
    /// A freshly initialised model that the program gives; its configuration then has `model.name = given`.
    ///
    /// # Errors
    /// If `training.objective` or `model.num_classes` is not that of the network, another value is not
    /// possible, or the device has no room for the model.
    pub fn of(gpu: &Gpu, config: &Config, model: ScoreModel<A>) -> Result<Trainer<A>, TrainError> {
        let config = Config { model: config.model.given(), ..config.clone() };
        Trainer::fresh(gpu, &config, model)
    }

    /// A freshly initialised model with the configuration as it is.
    pub(super) fn fresh(gpu: &Gpu, config: &Config, model: ScoreModel<A>) -> Result<Trainer<A>, TrainError> {
        config.check()?;
        check_classes(config, &model)?;
        // Weights, gradients, two moments and the average.
        let parameters = || format!("training a model of {} parameters", model.registry.count());
        gpu.check_allocation(model.registry.arena_bytes(gpu), 5, parameters)?;
        batch_fits(gpu, config)?;
        let seed = config.seed;
        let specs = model.registry.trainable.clone();
        let initial = |i: usize| specs[i].initial(seed, i);
        let fourier = model.registry.frozen.first().map(|spec| spec.initial(seed, specs.len()));
        let frequencies = model.network.frequencies(gpu, fourier.as_deref())?;
        let values = Arena::with(gpu, &model.registry, initial)?;
        let average = Arena::with(gpu, &model.registry, initial)?;
        let moments = [Arena::zeros(gpu, &model.registry)?, Arena::zeros(gpu, &model.registry)?];
        Trainer::assemble(config, model, values, frequencies, average, moments)
    }

    pub(super) fn assemble(
        config: &Config,
        model: ScoreModel<A>,
        values: Arena,
        frequencies: Tensor,
        average: Arena,
        moments: [Arena; 2],
    ) -> Result<Trainer<A>, TrainError> {
        let gpu = values.flat().gpu().clone();
        let gradients = Arena::zeros(&gpu, &model.registry)?;
        let running = (Tensor::zeros(&gpu, Shape::vector(4))?, 0);
        let objective = Objective::new(config, &model);
        let parameters = Parameters { values, gradients: Some(gradients.clone()), frequencies };
        Ok(Trainer {
            config: config.clone(),
            scorer: Scorer { model, parameters },
            average,
            moments,
            step: 0,
            updates: 0,
            data: None,
            objective,
            parts: config.training.accumulate,
            gradients,
            running,
            norm: None,
            recent: VecDeque::new(),
        })
    }

    /// The model with the averaged weights, for sampling. It shares their memory, so it changes with every
    /// step.
    pub fn averaged(&self) -> Scorer<A> {
        let mut scorer = self.scorer.clone();
        scorer.parameters.values = self.average.clone();
        scorer.parameters.gradients = None;
        scorer
    }

    /// One step on a batch, in [`Trainer::parts`] parts. Nothing is read back.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn step(&mut self, batch: &Batch) -> Result<(), TrainError> {
        let gpu = self.average.flat().gpu().clone();
        let loss = self.gradient(batch)?;
        let config = &self.config;
        let norm = adam::clip(self.gradients.flat(), config.optim.grad_clip)?;
        let arenas = Arenas {
            weight: self.scorer.parameters.values.flat(),
            gradient: self.gradients.flat(),
            moment1: self.moments[0].flat(),
            moment2: self.moments[1].flat(),
            average: self.average.flat(),
        };
        adam::adam(arenas, &norm, self.adam())?;
        elementwise::accumulate(&loss, 1.0, &self.running.0)?;
        gpu.flush()?;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((self.step + 1, loss));
        self.running.1 += 1;
        self.norm = Some(norm);
        self.step += 1;
        self.updates += 1;
        Ok(())
    }

    /// The loss of a batch; its gradient is written.
    fn gradient(&self, batch: &Batch) -> Result<Tensor, TrainError> {
        let (gpu, draw) = (self.average.flat().gpu(), self.draw()?);
        let labels = classes::labels(&self.config, batch, draw)?;
        self.gradients.clear()?;
        if self.parts == 1 {
            let x0 = Tensor::from_slice(gpu, self.batch_shape(), &batch.images)?;
            return Ok(self.objective.loss(&self.scorer, &x0, &labels, draw)?);
        }
        let (n, pixels) = (labels.len(), self.batch_shape().with_n(1).len());
        let each = n.div_ceil(self.parts);
        let total = Tensor::zeros(gpu, Shape::vector(4))?;
        let parts = batch.images.chunks(each * pixels).zip(labels.chunks(each)).zip((0..).step_by(each));
        for ((images, labels), first) in parts {
            let x0 = Tensor::from_slice(gpu, self.batch_shape().with_n(labels.len()), images)?;
            let loss = self.objective.add_part(&self.scorer, &x0, labels, draw.from(first), n)?;
            elementwise::accumulate(&loss, 1.0, &total)?;
            // The memory of a part is free for the next.
            gpu.flush()?;
        }
        Ok(total)
    }

    /// One step on a batch. If it does not fit into the device's memory and `training.fit_memory` is set, the
    /// batch is divided into more parts; returns their number if it has changed.
    ///
    /// # Errors
    /// If the device refuses.
    pub(super) fn step_within_memory(&mut self, batch: &Batch) -> Result<Option<usize>, TrainError> {
        let before = self.parts;
        loop {
            // A step that has no room shows it here, and nothing has changed but the gradients.
            let made = self.step(batch);
            let room = self.config.training.fit_memory && self.parts < self.config.training.batch_size;
            match made {
                Err(error) if room && error.is_out_of_memory() => {
                    self.parts = (2 * self.parts).min(self.config.training.batch_size);
                }
                made => return made.map(|()| (self.parts != before).then_some(self.parts)),
            }
        }
    }

    /// The number of parts that a batch is computed in: `training.accumulate`, or more if those did not fit.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// The loss of some weights on a batch without dropout, at noise levels between two quantiles of
    /// training's.
    ///
    /// # Errors
    /// If the device refuses.
    pub(super) fn value(
        &self,
        scorer: &Scorer<A>,
        batch: &Batch,
        quantiles: Range<f64>,
        draw: Draw,
    ) -> Result<f64, TrainError> {
        let pixels = self.batch_shape().with_n(1).len();
        let shape = self.batch_shape().with_n(batch.images.len() / pixels);
        let x0 = Tensor::from_slice(self.average.flat().gpu(), shape, &batch.images)?;
        let labels = classes::known(&self.config, batch)?;
        let loss = self.objective.value(scorer, &x0, &labels, quantiles, draw)?;
        Ok(loss.read()?.iter().map(|v| f64::from(*v)).sum())
    }

    /// The noise levels σ between which the parts of [`HeldOutLoss::levels`](super::HeldOutLoss::levels) lie,
    /// from the lowest up.
    pub fn noise_levels(&self) -> [f64; LEVELS + 1] {
        let quantile = |i: usize| (i as f64 / LEVELS as f64).clamp(1e-9, 1.0 - 1e-9);
        std::array::from_fn(|i| self.objective.noise_level(&self.scorer.model, quantile(i)))
    }

    /// The randomness of the next step.
    ///
    /// # Errors
    /// [`TrainError::TooManySteps`] from step 2³² on: random numbers are counted by steps of 32 bits.
    pub fn draw(&self) -> Result<Draw, TrainError> {
        let step = u32::try_from(self.step).map_err(|_| TrainError::TooManySteps(self.step))?;
        Ok(Draw::new(self.config.seed).at(step))
    }

    /// `[batch, h, w, c]`.
    pub fn batch_shape(&self) -> Shape {
        batch_shape(&self.config)
    }

    fn adam(&self) -> Adam {
        let optim = &self.config.optim;
        // The rate of the average rises as well: (1 + n) / (10 + n) after n updates (the reference's
        // `ema.py`).
        let updates = (self.step + 1) as f64;
        let rising = (1.0 + updates) / (10.0 + updates);
        Adam {
            rate: optim.rate(self.step, self.config.training.n_iters),
            beta1: optim.beta1,
            beta2: optim.beta2,
            eps: optim.eps,
            weight_decay: optim.weight_decay,
            grad_clip: optim.grad_clip,
            ema: self.config.model.ema_rate.min(rising),
            step: self.updates + 1,
        }
    }

    /// The loss, averaged over the steps since the last report; waits for the device.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn loss(&self) -> Result<f64, TrainError> {
        let (running, steps) = &self.running;
        Ok(running.read()?.iter().map(|v| f64::from(*v)).sum::<f64>() / *steps as f64)
    }

    /// Loss and gradient since the last report; waits for the device. `None` if no step was made since.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] if the loss is not finite.
    pub fn report(&mut self) -> Result<Option<StepReport>, TrainError> {
        let Some((loss, grad_norm)) = self.measured()? else { return Ok(None) };
        self.recent.clear();
        self.running.0.write(&[0.0; 4])?;
        self.running.1 = 0;
        let learning_rate = self.config.optim.rate(self.step - 1, self.config.training.n_iters);
        Ok(Some(StepReport { loss, grad_norm, learning_rate }))
    }

    /// Loss and gradient norm since the last report, checked; `None` if no step was made since.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] if one is not finite.
    fn measured(&self) -> Result<Option<(f64, f64)>, TrainError> {
        let Some(norm) = self.norm.as_ref().filter(|_| self.running.1 > 0) else { return Ok(None) };
        let (loss, grad_norm) = (self.loss()?, f64::from(norm.read()?[0]));
        match loss.is_finite() && grad_norm.is_finite() {
            true => Ok(Some((loss, grad_norm))),
            false => Err(self.diverged(loss)?),
        }
    }

    /// Checks loss, gradient and weights; slow, as the weights are read from the device.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] if one is not finite.
    pub(super) fn check_finite(&self) -> Result<(), TrainError> {
        self.measured()?;
        let weights = self.scorer.parameters.values.flat().read()?;
        match weights.iter().all(|v| v.is_finite()) {
            true => Ok(()),
            false => {
                let what = "the weights are not finite".into();
                Err(TrainError::Diverged { step: self.step, what, good: None })
            }
        }
    }

    /// The error of a loss or a gradient that is not finite, with the step at which the loss was not finite
    /// first.
    fn diverged(&self, loss: f64) -> Result<TrainError, TrainError> {
        let (mut step, what) = (self.step, if loss.is_finite() { "the gradient" } else { "the loss" });
        for (made, loss) in &self.recent {
            if !loss.read()?.iter().all(|v| v.is_finite()) {
                step = *made;
                break;
            }
        }
        Ok(TrainError::Diverged { step, what: format!("{what} is not finite"), good: None })
    }
}

fn batch_shape(config: &Config) -> Shape {
    Shape::of_images(config.training.batch_size, config.data.shape())
}

/// Checks that the objective and the number of classes are those of the network.
fn check_classes<A: Architecture>(config: &Config, model: &ScoreModel<A>) -> Result<(), TrainError> {
    let (network, num_classes) = (&model.network, config.model.num_classes);
    if network.logits().is_some() != config.is_classifier() {
        let why = "classifier trains a network with logits, and every other objective one without";
        return Err(config::refuse("training.objective", config.training.objective.name(), why).into());
    }
    let own = network.logits().unwrap_or(network.classes());
    if own != num_classes {
        let why = format!("the network has {own} classes");
        return Err(config::refuse("model.num_classes", num_classes, why).into());
    }
    Ok(())
}

/// Checks that a part of a batch fits before it is made on the host.
fn batch_fits(gpu: &Gpu, config: &Config) -> Result<(), TrainError> {
    let training = &config.training;
    let each = if training.fit_memory { 1 } else { training.batch_size.div_ceil(training.accumulate) };
    let shape = batch_shape(config).with_n(each);
    Ok(gpu.check_binding(shape.vec4s() as u64 * 16, || format!("a tensor of shape {shape}"))?)
}
