//! `data`: the images.

use super::{ConfigError, MAX_CHANNELS, count, refuse};
use crate::choice::choices;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

choices! {
    /// The ways in which a picture of another shape becomes an image.
    pub enum Fit = Crop {
        /// Scaled to cover the image, and its middle cut out.
        Crop = "crop",
        /// Scaled to fit into the image, on black.
        Pad = "pad",
        /// Scaled to the image's height and width.
        Stretch = "stretch",
    }
}

choices! {
    /// The data sets that the program contains.
    pub enum BuiltIn {
        /// Grey digits, 8x8: 1437 training and 360 test images.
        Digits = "digits",
        /// The same digits in random colours.
        DigitsColor = "digits_color",
    }
}

/// The range of a model's data: [−1, 1] if centred, else [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Whether it is [−1, 1].
    pub centered: bool,
}

impl Range {
    /// The smallest value; the largest is 1.
    pub fn low(self) -> f64 {
        if self.centered { -1.0 } else { 0.0 }
    }

    /// The distance between the smallest and the largest value.
    pub fn width(self) -> f64 {
        1.0 - self.low()
    }

    /// A value of the range in [0, 1].
    pub fn to_unit(self, value: f32) -> f32 {
        if self.centered { (value + 1.0) / 2.0 } else { value }
    }

    /// A value of [0, 1] in the range.
    pub fn from_unit(self, value: f32) -> f32 {
        if self.centered { 2.0 * value - 1.0 } else { value }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.centered { "[-1, 1]" } else { "[0, 1]" })
    }
}

/// `data`: the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// A built-in data set, `digits` or `digits_color`; `idx` for IDX files; `given` for images that the
    /// training program passes; any other name stands for the images of `path`.
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
    /// The training images: an IDX file, a folder of MNIST's or CIFAR-10's files, an array of numpy, a folder of pictures, whose
    /// folders are classes, or an archive (zip) of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The test images, if `path` does not hold them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_path: Option<PathBuf>,
    /// Training images that are held out, spread over the set, for `training.eval_freq`; with 0 these are the test images.
    #[serde(default)]
    pub hold_out: usize,
    /// The middle square of this many pixels is cut out of every picture first; 0 for the whole picture.
    #[serde(default)]
    pub crop: usize,
    /// The way in which a picture of another shape becomes an image.
    #[serde(default)]
    pub fit: Fit,
    /// Leave out pictures that cannot be read.
    #[serde(default)]
    pub skip_bad: bool,
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
            path: None,
            test_path: None,
            crop: 0,
            fit: Fit::default(),
            skip_bad: false,
            images: None,
            labels: None,
            test_images: None,
            test_labels: None,
            ..self.clone()
        }
    }

    /// The range of the model's data.
    pub fn range(&self) -> Range {
        Range { centered: self.centered }
    }

    /// The smallest grey level in the model's range; the largest is 1.
    pub fn low(&self) -> f64 {
        self.range().low()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        count("data.image_size", self.image_size as u64, 1 << 16)?;
        count("data.num_channels", self.num_channels as u64, MAX_CHANNELS)?;
        // A configuration is written as TOML, which is Unicode.
        let files =
            [&self.path, &self.test_path, &self.images, &self.labels, &self.test_images, &self.test_labels];
        match files.into_iter().flatten().find(|path| path.to_str().is_none()) {
            Some(path) => Err(refuse("data", path, "a configuration can only name paths that are UTF-8")),
            None => Ok(()),
        }
    }
}
