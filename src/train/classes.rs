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
    let withheld = if config.is_classifier() { 0.0 } else { model.label_dropout };
    let key = draw.key(Purpose::LabelDropout);
    let kept = |sample: usize| f64::from(key.rng(sample as u32).random::<f32>()) >= withheld;
    let mut labels = known(config, batch)?;
    if model.num_classes > 0 {
        labels
            .iter_mut()
            .enumerate()
            .filter(|(sample, _)| !kept(*sample))
            .for_each(|(_, label)| *label = None);
    }
    Ok(labels)
}

/// The class label of each sample in the batch; all `None` for unconditional models.
pub(super) fn known(config: &Config, batch: &Batch) -> Result<Vec<Option<usize>>, TrainError> {
    if config.model.num_classes == 0 {
        let shape = config.data.shape();
        return Ok(vec![None; batch.images.len() / shape.iter().product::<usize>()]);
    }
    let none = || DataError::Mismatch("the data have no labels to train with".into());
    Ok(batch.labels.as_ref().ok_or_else(none)?.iter().copied().map(Some).collect())
}
