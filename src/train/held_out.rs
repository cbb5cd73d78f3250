//! The loss on held-out images, by noise level.

use super::TrainError;
use super::trainer::Trainer;
use crate::config::{Config, Data};
use crate::data::{Batch, Loader, Source, check_labels, spread};
use crate::nn::Architecture;

/// The number of parts that the noise levels of training are divided into, each drawn equally often.
pub const LEVELS: usize = 4;

/// The largest number of images that are evaluated; more are chosen at equal distances.
const MOST: usize = 1024;

/// Held-out samples are counted from here, so that no random number is one of training's.
const FIRST: u32 = 1 << 31;

/// The loss of the averaged weights on held-out images, without dropout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldOutLoss {
    /// The mean: comparable with the loss of training.
    pub mean: f64,
    /// The mean in each part of the noise levels, from the lowest up.
    pub levels: [f64; LEVELS],
}

/// Held-out images.
pub(super) struct HeldOut<'a> {
    loader: Loader<&'a dyn Source>,
    /// The images of each part of the noise levels: every image is in one.
    parts: [Vec<usize>; LEVELS],
    batch: usize,
}

impl<'a> HeldOut<'a> {
    pub(super) fn new(source: &'a dyn Source, config: &Config) -> Result<HeldOut<'a>, TrainError> {
        if config.model.num_classes > 0 {
            check_labels(source, config.model.num_classes)?;
        }
        let data = Data { random_flip: false, ..config.data.clone() };
        let batch = config.training.batch_size;
        let loader = Loader::new(source, &data, batch, config.seed)?;
        let chosen: Vec<usize> = spread(source.len(), source.len().min(MOST)).collect();
        // A set with fewer images than parts has some of them in several.
        let of =
            |part: usize| (part..chosen.len().max(LEVELS)).step_by(LEVELS).map(|i| chosen[i % chosen.len()]);
        Ok(HeldOut { loader, parts: std::array::from_fn(|part| of(part).collect()), batch })
    }

    /// The number of images that are evaluated.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }

    /// The loss after the steps made. Its random numbers follow from the seed and that number.
    pub(super) fn loss<A: Architecture>(&self, trainer: &Trainer<A>) -> Result<HeldOutLoss, TrainError> {
        let mut levels = [0.0; LEVELS];
        let (mut sample, mut sum, mut count) = (FIRST, 0.0, 0);
        let scorer = trainer.averaged();
        for (part, images) in self.parts.iter().enumerate() {
            let quantiles = part as f64 / LEVELS as f64..(part + 1) as f64 / LEVELS as f64;
            for indices in images.chunks(self.batch) {
                let draw = trainer.draw()?.from(sample);
                let batch: Batch = self.loader.gather(indices, draw)?;
                let loss = trainer.value(&scorer, &batch, quantiles.clone(), draw)?;
                levels[part] += loss * indices.len() as f64 / images.len() as f64;
                (sample, sum, count) =
                    (sample + indices.len() as u32, sum + loss * indices.len() as f64, count + indices.len());
            }
        }
        Ok(HeldOutLoss { mean: sum / count as f64, levels })
    }
}
