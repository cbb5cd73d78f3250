//! The class labels of a training batch.

use super::TrainError;
use crate::config::Config;
use crate::data::{Batch, DataError};
use crate::random::{Draw, Purpose};
use rand::Rng;

/// The class label of each sample in the batch: the target of a classifier, or the conditioning of a
/// class-conditional network, which is withheld with probability `model.label_dropout`. All `None` for
/// unconditional models.
pub(super) fn labels(config: &Config, batch: &Batch, draw: Draw) -> Result<Vec<Option<usize>>, TrainError> {
    let model = &config.model;
    if model.num_classes == 0 {
        return Ok(vec![None; config.training.batch_size]);
    }
    let withheld = if config.is_classifier() { 0.0 } else { model.label_dropout };
    let key = draw.key(Purpose::LabelDropout);
    let label = |(sample, label): (usize, &usize)| {
        let kept = f64::from(key.rng(sample as u32).random::<f32>()) >= withheld;
        kept.then_some(*label)
    };
    let none = || DataError::Mismatch("the data have no labels to train with".into());
    Ok(batch.labels.as_ref().ok_or_else(none)?.iter().enumerate().map(label).collect())
}
