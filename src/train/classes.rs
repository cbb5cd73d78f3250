//! What training does with the data's labels: the loss of a classifier, and the classes that a network is told.

use super::TrainError;
use crate::config::Config;
use crate::data::{Batch, DataError};
use crate::kernels::cross_entropy;
use crate::random::{Key, Purpose};
use crate::tensor::Tensor;

/// The cross entropy of logits, averaged over the batch, in the lanes of `[1, 1, 1, 4]`, and its gradient.
pub(super) fn loss(logits: &Tensor, batch: &Batch) -> Result<(Tensor, Tensor), TrainError> {
    let labels: Vec<usize> = labels(batch)?.map(usize::from).collect();
    let labels = cross_entropy::upload(logits.gpu(), &labels, logits.shape().c())?;
    Ok(cross_entropy::mean(logits, &labels)?)
}

/// The class that the network is told of each sample in a step: its label, hidden now and then
/// (`model.label_dropout`); none if it is told no classes.
pub(super) fn told(config: &Config, batch: &Batch, step: u32) -> Result<Vec<Option<usize>>, TrainError> {
    let model = &config.model;
    if model.num_classes == 0 || config.is_classifier() {
        return Ok(vec![None; config.training.batch_size]);
    }
    let key = Key::new(config.seed, Purpose::LabelDropout).at(step);
    let told = |(sample, label): (usize, u8)| {
        let shown = f64::from(key.uniform(sample as u32, 0)[0]) >= model.label_dropout;
        shown.then_some(usize::from(label))
    };
    Ok(labels(batch)?.enumerate().map(told).collect())
}

fn labels(batch: &Batch) -> Result<impl Iterator<Item = u8>, TrainError> {
    let none = || DataError::Mismatch("the data have no labels to train with".into());
    Ok(batch.labels.as_ref().ok_or_else(none)?.iter().copied())
}
