//! `data`: the images.

use super::{ConfigError, MAX_CHANNELS, count};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `data`: the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// `digits` or `digits_color`, which are built in; `idx`, from files; `given`, by the program that
    /// trains; any other name stands for a data set that has to be converted to files first.
    pub dataset: String,
    /// Height and width.
    pub image_size: usize,
    /// Channels.
    pub num_channels: usize,
    /// Whether images are scaled to [−1, 1] instead of [0, 1].
    pub centered: bool,
    /// Flip half of the training images left to right.
    #[serde(default)]
    pub random_flip: bool,
    /// Add uniform noise of one grey level.
    #[serde(default)]
    pub uniform_dequantization: bool,
    /// `idx`: the training images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// `idx`: their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// `idx`: the test images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_images: Option<PathBuf>,
    /// `idx`: their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_labels: Option<PathBuf>,
}

impl Data {
    /// The `dataset` of images that a program passes to [`Run::train_on`](crate::train::Run::train_on).
    pub const GIVEN: &str = "given";

    /// The same for images that the program gives: it names no data set and no files.
    pub(crate) fn given(&self) -> Data {
        Data {
            dataset: Data::GIVEN.into(),
            images: None,
            labels: None,
            test_images: None,
            test_labels: None,
            ..self.clone()
        }
    }

    /// The smallest grey level in the model's range; the largest is 1.
    pub fn low(&self) -> f64 {
        if self.centered { -1.0 } else { 0.0 }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        count("data.image_size", self.image_size as u64, 1 << 16)?;
        count("data.num_channels", self.num_channels as u64, MAX_CHANNELS)
    }
}
