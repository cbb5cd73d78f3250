//! The source of training images: a trait, and arrays in the model's range.

use super::DataError;
use crate::config::Data;
use std::borrow::Cow;

/// Training images of one shape, in memory or elsewhere. Several threads read them at once.
pub trait Source: Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Returns true if there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height, width and channels of every image.
    fn shape(&self) -> [usize; 3];

    /// Image number `index`, `[h, w, c]`.
    ///
    /// # Errors
    /// If it cannot be read; [`DataError::Source`] wraps any error.
    fn image(&self, index: usize) -> Result<Pixels<'_>, DataError>;

    /// The class of image number `index`, counted from 0; `None` without labels.
    fn label(&self, index: usize) -> Option<usize> {
        let _ = index;
        None
    }

    /// The parts of the data that have been left out until now, as `name (reason)`.
    fn skipped(&self) -> Vec<String> {
        Vec::new()
    }
}

/// One image's pixels, `[h, w, c]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels<'a> {
    /// Grey or colour levels, 0 to 255. The loader maps them to the model's range, and dequantises them if
    /// `data.uniform_dequantization` is set.
    Levels(Cow<'a, [u8]>),
    /// Values in the model's range (`[0, 1]`, or `[−1, 1]` with `data.centered`), used unchanged.
    Values(Cow<'a, [f32]>),
}

impl Pixels<'_> {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Pixels::Levels(levels) => levels.len(),
            Pixels::Values(values) => values.len(),
        }
    }

    /// Returns true if there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn len(&self) -> usize {
        S::len(self)
    }

    fn shape(&self) -> [usize; 3] {
        S::shape(self)
    }

    fn image(&self, index: usize) -> Result<Pixels<'_>, DataError> {
        S::image(self, index)
    }

    fn label(&self, index: usize) -> Option<usize> {
        S::label(self, index)
    }

    fn skipped(&self) -> Vec<String> {
        S::skipped(self)
    }
}

/// Images in memory as 32-bit floats in the model's range, with optional labels.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatDataset {
    values: Vec<f32>,
    shape: [usize; 3],
    labels: Option<Vec<usize>>,
}

impl FloatDataset {
    /// Values `[n, h, w, c]` in the model's range, and the class of each image, if any.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] if the lengths do not agree, or a value is not finite.
    pub fn new(
        values: Vec<f32>,
        shape: [usize; 4],
        labels: Option<Vec<usize>>,
    ) -> Result<FloatDataset, DataError> {
        check_array(values.len(), shape, labels.as_ref().map(Vec::len))?;
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let what = format!("value {index} is {}; every value must be finite", values[index]);
            return Err(DataError::Mismatch(what));
        }
        let [_, h, w, c] = shape;
        Ok(FloatDataset { values, shape: [h, w, c], labels })
    }

    /// The values, `[n, h, w, c]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl Source for FloatDataset {
    fn len(&self) -> usize {
        self.values.len() / self.shape.iter().product::<usize>()
    }

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn image(&self, index: usize) -> Result<Pixels<'_>, DataError> {
        let len = self.shape.iter().product::<usize>();
        Ok(Pixels::Values(Cow::Borrowed(&self.values[index * len..][..len])))
    }

    fn label(&self, index: usize) -> Option<usize> {
        self.labels.as_ref().map(|labels| labels[index])
    }
}

/// Checks that an array of `len` values has the shape `[n, h, w, c]`, is not empty, and has a label for each
/// image if it is labelled.
pub(super) fn check_array(len: usize, shape: [usize; 4], labels: Option<usize>) -> Result<(), DataError> {
    let expected = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    if expected != Some(len) || len == 0 {
        let what = format!("{len} values are not an array of shape {shape:?} ([n, h, w, c], none of them 0)");
        return Err(DataError::Mismatch(what));
    }
    match labels {
        Some(labels) if labels != shape[0] => {
            Err(DataError::Mismatch(format!("{labels} labels do not match {} images", shape[0])))
        }
        _ => Ok(()),
    }
}

/// Checks that the images of `source`, called `name` in messages, have the configured shape.
pub(super) fn check_shape(source: &dyn Source, name: &str, config: &Data) -> Result<(), DataError> {
    let (size, channels) = (config.image_size, config.num_channels);
    let [h, w, c] = source.shape();
    if [h, w, c] == config.shape() {
        return Ok(());
    }
    Err(DataError::Mismatch(format!(
        "the images of {name} are {h}x{w}x{c}, the configuration says data.image_size = {size} \
         and data.num_channels = {channels}; set these to the images' own"
    )))
}

/// Checks that every image has a label below `classes`.
///
/// # Errors
/// [`DataError::Mismatch`] with the first label that is missing or too large.
pub fn check_labels(source: &dyn Source, classes: usize) -> Result<(), DataError> {
    for label in (0..source.len()).map(|index| source.label(index)) {
        match label {
            None => {
                let what = "model.num_classes needs labelled images; name the IDX file of the labels with \
                            data.labels";
                return Err(DataError::Mismatch(what.into()));
            }
            Some(label) if label >= classes => {
                return Err(DataError::Mismatch(format!(
                    "model.num_classes = {classes}: the data have a label {label}; it must be more than every \
                     label"
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_that_does_not_match_its_shape_or_its_labels_is_refused() {
        let ones = |len| vec![1.0; len];
        assert!(FloatDataset::new(ones(12), [3, 2, 2, 1], Some(vec![0, 1, 2])).is_ok());
        for (values, shape, labels) in [
            (ones(11), [3, 2, 2, 1], None),
            (ones(0), [0, 2, 2, 1], None),
            (ones(12), [3, 2, 2, 1], Some(vec![0, 1])),
            (ones(1), [usize::MAX, 2, 2, 1], None),
            (vec![f32::NAN; 4], [1, 2, 2, 1], None),
        ] {
            assert!(
                matches!(FloatDataset::new(values, shape, labels), Err(DataError::Mismatch(_))),
                "{shape:?}"
            );
        }
    }

    #[test]
    fn a_label_that_is_missing_or_no_class_is_refused() {
        let set = |labels| FloatDataset::new(vec![0.5; 2], [2, 1, 1, 1], labels).expect("an array");
        assert!(check_labels(&set(Some(vec![0, 3])), 4).is_ok());
        assert!(check_labels(&set(Some(vec![0, 3])), 3).is_err());
        assert!(check_labels(&set(None), 3).is_err());
    }
}
