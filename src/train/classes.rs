//! What training makes of the data's labels.

use super::TrainError;
use crate::config::Config;
use crate::data::{Batch, DataError};
use crate::random::{Key, Purpose};

/// The class of each sample of a step that the objective is about: what a classifier is to say, or what a network is told, who
/// is not told it now and then (`model.label_dropout`). None if there are no classes.
pub(super) fn told(config: &Config, batch: &Batch, step: u32) -> Result<Vec<Option<usize>>, TrainError> {
    let model = &config.model;
    if model.num_classes == 0 {
        return Ok(vec![None; config.training.batch_size]);
    }
    let hidden = if config.is_classifier() { 0.0 } else { model.label_dropout };
    let key = Key::new(config.seed, Purpose::LabelDropout).at(step);
    let told = |(sample, label): (usize, &u8)| {
        let shown = f64::from(key.uniform(sample as u32, 0)[0]) >= hidden;
        shown.then_some(usize::from(*label))
    };
    let none = || DataError::Mismatch("the data have no labels to train with".into());
    Ok(batch.labels.as_ref().ok_or_else(none)?.iter().enumerate().map(told).collect())
}
