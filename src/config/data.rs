//! `data`: the images.

use super::{ConfigError, MAX_CHANNELS, count, refuse};
use crate::choice::{Choice, choices};
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

choices! {
    /// Toy distributions in the plane.
    pub enum Toy {
        /// Eight Gaussians of equal weight on a circle.
        Gaussians = "gaussians",
        /// Two Gaussians of weights 1/5 and 4/5 (Song 2019, section 3.2).
        TwoGaussians = "two_gaussians",
        /// Two half circles that reach into each other.
        Moons = "moons",
        /// A spiral.
        SwissRoll = "swiss_roll",
        /// Every other square of a board of 4x4.
        Checkerboard = "checkerboard",
        /// Two circles around one centre.
        Rings = "rings",
    }
}

/// Height and width of images, in pixels. In a configuration it is one number for squares, or `[height, width]`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageSize {
    /// Height and width.
    pub fn new(height: usize, width: usize) -> ImageSize {
        ImageSize { height, width }
    }

    /// The size after it has been halved `times` times, rounded down.
    pub fn halved(self, times: usize) -> ImageSize {
        ImageSize { height: self.height >> times, width: self.width >> times }
    }

    /// Returns true if both extents are divisible by 2 to the power `times`.
    pub fn can_be_halved(self, times: usize) -> bool {
        times < usize::BITS as usize
            && [self.height, self.width].iter().all(|extent| extent.is_multiple_of(1 << times))
    }

    /// The larger extent.
    pub fn longest(self) -> usize {
        self.height.max(self.width)
    }

    /// Number of pixels.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }
}

/// A square.
impl From<usize> for ImageSize {
    fn from(size: usize) -> ImageSize {
        ImageSize::new(size, size)
    }
}

/// As in a configuration: `32`, or `[32, 48]`.
impl std::fmt::Display for ImageSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.height, self.width) {
            (height, width) if height == width => write!(f, "{height}"),
            (height, width) => write!(f, "[{height}, {width}]"),
        }
    }
}

impl std::fmt::Debug for ImageSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Serialize for ImageSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.height, self.width) {
            (height, width) if height == width => height.serialize(serializer),
            both => both.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ImageSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ImageSize, D::Error> {
        struct Extents;
        impl<'de> serde::de::Visitor<'de> for Extents {
            type Value = ImageSize;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of pixels, or [height, width]")
            }

            fn visit_u64<E: serde::de::Error>(self, size: u64) -> Result<ImageSize, E> {
                usize::try_from(size).map(ImageSize::from).map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, size: i64) -> Result<ImageSize, E> {
                let wrong = || E::invalid_value(serde::de::Unexpected::Signed(size), &self);
                usize::try_from(size).map(ImageSize::from).map_err(|_| wrong())
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<ImageSize, A::Error> {
                let missing = |at: usize| serde::de::Error::invalid_length(at, &self);
                let height = seq.next_element()?.ok_or_else(|| missing(0))?;
                let width = seq.next_element()?.ok_or_else(|| missing(1))?;
                match seq.next_element::<serde::de::IgnoredAny>()? {
                    None => Ok(ImageSize { height, width }),
                    Some(_) => Err(missing(3)),
                }
            }
        }
        deserializer.deserialize_any(Extents)
    }
}

#[cfg(feature = "cli")]
impl schemars::JsonSchema for ImageSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ImageSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let extent = serde_json::json!({ "type": "integer", "minimum": 1 });
        let both = serde_json::json!({ "type": "array", "items": extent, "minItems": 2, "maxItems": 2 });
        schemars::json_schema!({ "anyOf": [extent, both] })
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
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// A built-in data set, `digits` or `digits_color`; `toy` for points of a distribution in the plane; `idx` for IDX files;
    /// `given` for images that the training program passes; any other name stands for the images or points of `path`.
    pub dataset: String,
    /// `toy`: the distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Toy>,
    /// Height and width: one number for squares, or `[height, width]`.
    pub image_size: ImageSize,
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
    /// folders are classes, or an archive (zip) of them; for a model of points a CSV file or an array [n, 2].
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
    /// Keep decoded pictures in memory if they take at most a quarter of what is free; else each is decoded whenever it is used.
    #[serde(default = "super::yes")]
    pub cache: bool,
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
    /// The `dataset` of points that are drawn from `distribution`.
    pub const TOY: &str = "toy";

    /// The same for images that the program gives: it names no data set and no files.
    pub(crate) fn given(&self) -> Data {
        Data {
            dataset: Data::GIVEN.into(),
            distribution: None,
            path: None,
            test_path: None,
            crop: 0,
            fit: Fit::default(),
            skip_bad: false,
            cache: true,
            images: None,
            labels: None,
            test_images: None,
            test_labels: None,
            ..self.clone()
        }
    }

    /// Returns true if the data are points of the plane: samples of 1 × 1 × 2.
    pub fn is_points(&self) -> bool {
        self.shape() == [1, 1, 2]
    }

    /// The shape of an image, `[h, w, c]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.image_size.height, self.image_size.width, self.num_channels]
    }

    /// The range of the model's data; points are used as they are, as if the range were [0, 1].
    pub fn range(&self) -> Range {
        Range { centered: self.centered }
    }

    /// The smallest grey level in the model's range; the largest is 1.
    pub fn low(&self) -> f64 {
        self.range().low()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for extent in [self.image_size.height, self.image_size.width] {
            count("data.image_size", extent as u64, 1 << 16)?;
        }
        count("data.num_channels", self.num_channels as u64, MAX_CHANNELS)?;
        self.check_points()?;
        // A configuration is written as TOML, which is Unicode.
        let files =
            [&self.path, &self.test_path, &self.images, &self.labels, &self.test_images, &self.test_labels];
        match files.into_iter().flatten().find(|path| path.to_str().is_none()) {
            Some(path) => Err(refuse("data", path, "a configuration can only name paths that are UTF-8")),
            None => Ok(()),
        }
    }

    /// Points have no range, no mirror image and no levels.
    fn check_points(&self) -> Result<(), ConfigError> {
        let toy = self.dataset == Data::TOY;
        if toy && self.distribution.is_none() {
            let names: Vec<&str> = Toy::ALL.iter().map(|toy| toy.name()).collect();
            let why = format!("it needs data.distribution, one of {}", names.join(", "));
            return Err(refuse("data.dataset", &self.dataset, why));
        }
        if toy && !self.is_points() {
            let why = "it holds points; set data.image_size = 1 and data.num_channels = 2";
            return Err(refuse("data.dataset", &self.dataset, why));
        }
        let set = [
            ("data.centered", self.centered),
            ("data.random_flip", self.random_flip),
            ("data.uniform_dequantization", self.uniform_dequantization),
        ];
        match set.into_iter().find(|(_, set)| self.is_points() && *set) {
            Some((key, _)) => {
                Err(refuse(key, true, "data of 1x1x2 are points, used as they are; set it to false"))
            }
            None => Ok(()),
        }
    }
}
