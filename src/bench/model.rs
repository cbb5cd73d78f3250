//! Benchmarks of a whole model: a training step, an evaluation of the network, and the divergence of its
//! flow.

use crate::autodiff::Eager;
use crate::config::Config;
use crate::data::{Batch, Dataset, Loader, Split};
use crate::gpu::Gpu;
use crate::kernels::Result;
use crate::kernels::hutchinson::{Probe, Probes};
use crate::kernels::random::Noise;
use crate::nn::Conditioning;
use crate::random::{Key, Purpose};
use crate::sample::divergence;
use crate::tensor::Tensor;
use crate::train::{TrainError, Trainer};
use std::cell::RefCell;

/// The digits model, ready to step and to evaluate.
pub struct Model {
    trainer: RefCell<Trainer>,
    batch: Batch,
    x: Tensor,
    conditioning: Conditioning,
}

/// The time of an evaluation.
const TIME: f64 = 0.5;

/// The model of `configs/digits_ve.toml`.
///
/// # Errors
/// If the device has no room for it.
pub fn digits(gpu: &Gpu) -> std::result::Result<Model, TrainError> {
    let config = Config::from_toml(include_str!("../../configs/digits_ve.toml"), &[])?;
    let trainer = Trainer::new(gpu, &config)?;
    let shape = trainer.batch_shape();
    let set = Dataset::load(&config.data, Split::Train)?;
    let batch = Loader::new(set, &config.data, shape.n(), config.seed)?.batch(0)?;
    let x = Tensor::from_slice(gpu, shape, &batch.images)?;
    let conditioning = trainer.scorer.condition(&vec![TIME; shape.n()])?;
    Ok(Model { trainer: RefCell::new(trainer), batch, x, conditioning })
}

impl Model {
    /// Images in a step and in an evaluation.
    pub fn images(&self) -> usize {
        self.x.shape().n()
    }

    /// Bytes of a batch of images on the device.
    pub fn input_bytes(&self) -> u64 {
        self.x.size()
    }

    /// The number of trainable parameters.
    pub fn parameters(&self) -> usize {
        self.trainer.borrow().scorer.model.registry.count()
    }

    /// One training step.
    ///
    /// # Errors
    /// Any error of the device.
    pub fn step(&self) -> std::result::Result<(), TrainError> {
        self.trainer.borrow_mut().step(&self.batch)
    }

    /// One evaluation of the network.
    ///
    /// # Errors
    /// Any error of the device.
    pub fn evaluate(&self) -> Result<()> {
        self.trainer.borrow().scorer.network(&mut Eager, &self.x, &self.conditioning, None).map(drop)
    }

    /// One evaluation of the probability flow and its divergence, by one probe in forward mode.
    ///
    /// # Errors
    /// Any error of the device.
    pub fn divergence(&self) -> crate::sample::Result<()> {
        let noise = Noise::Drawn(Key::new(1, Purpose::Probe));
        let probes = Probes { count: 1, kind: Probe::Rademacher, noise };
        divergence(&self.trainer.borrow().scorer, &self.x, &TIME.into(), probes).map(drop)
    }
}
