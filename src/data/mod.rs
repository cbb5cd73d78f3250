//! Data sets: built-in digits, IDX files, sources of images of any kind, and the order in which training uses
//! them.

#[cfg(feature = "images")]
mod array;
mod cifar;
#[cfg(feature = "images")]
mod collection;
mod fingerprint;
mod idx;
mod loader;
mod mixture;
mod part;
#[cfg(feature = "images")]
pub mod picture;
mod points;
mod published;
mod recognise;
mod region;
mod source;
#[cfg(feature = "images")]
mod survey;

#[cfg(feature = "images")]
pub use array::{Array, Numbers};
pub use fingerprint::Fingerprint;
pub use loader::{Ahead, Batch, Loader};
pub use mixture::{Component, Mixture, Spread};
pub use part::Part;
pub(crate) use part::spread;
pub use points::read_points;
pub use recognise::{Kind, Wanted};
pub use region::Region;
pub use source::{FloatDataset, Pixels, Source, check_labels};
#[cfg(feature = "images")]
pub use survey::Survey;

use crate::choice::Choice;
use crate::config::{BuiltIn, Data, ImageSize};
use crate::random::{Key, Purpose};
use rand::Rng;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file cannot be read.
    #[error("{path}: {reason}; name a path that can be read")]
    Read {
        /// The file.
        path: String,
        /// The system's message.
        reason: String,
    },
    /// The contents of a file are not as expected.
    #[error("{path}: {what}; check how it was made, or name another file")]
    Format {
        /// The file.
        path: String,
        /// The fault.
        what: String,
    },
    /// The configuration names no images.
    #[error("data.dataset = {dataset} needs {key}, the path of a file or a folder of images{published}")]
    NoPath {
        /// The data set.
        dataset: String,
        /// The key of the path.
        key: &'static str,
        /// The place that publishes the data set, in brackets, or nothing.
        published: String,
    },
    /// The data do not match the configuration.
    #[error("{0}")]
    Mismatch(String),
    /// A [`Source`] failed to provide an image.
    #[error("image {index}: {error}")]
    Source {
        /// The image's number.
        index: usize,
        /// The source's error.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// The images to train on.
    Train,
    /// The images held out for tests.
    Test,
}

/// The points of a configuration, of a toy distribution or in a file.
///
/// # Errors
/// If it names no points, if they cannot be read, or if it is of another shape.
pub fn load_points(config: &Data, split: Split) -> Result<FloatDataset, DataError> {
    let set = match config.distribution.filter(|_| config.dataset == Data::TOY) {
        Some(toy) => mixture::points(toy, split)?,
        None => match located(config, split)? {
            (path, Kind::Points) => points::read_points(path)?,
            (path, kind) => {
                let what = format!(
                    "{}: it is of the kind {kind}, and a model of points takes points",
                    path.display()
                );
                return Err(DataError::Mismatch(what));
            }
        },
    };
    source::check_shape(&set, &config.dataset, config)?;
    Ok(set)
}

/// Images of one size in memory, levels `[n, h, w, c]`, and their labels if there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Grey or colour levels, 0..=255.
    pub pixels: Vec<u8>,
    /// The class of each image.
    pub labels: Option<Vec<u32>>,
    /// Height and width.
    pub size: ImageSize,
    /// Channels.
    pub channels: usize,
    /// The names of the classes, if their folders give them; else empty.
    pub class_names: Vec<String>,
    /// Pictures that could not be read, and arrays without images: what was left out, as `name (reason)`.
    pub skipped: Vec<String>,
}

impl Dataset {
    /// The largest Euclidean distance between two of `count` images spread over the set, in grey levels.
    pub fn largest_distance(&self, count: usize) -> f64 {
        let images: Vec<&[u8]> = (0..count).map(|i| self.image(i * self.len() / count)).collect();
        let square = |a: &[u8], b: &[u8]| -> u64 {
            a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).map(u64::from).sum()
        };
        let from = |i: usize| images[i + 1..].iter().map(|other| square(images[i], other)).max().unwrap_or(0);
        ((0..count).map(from).max().unwrap_or(0) as f64).sqrt()
    }

    /// The data set that a configuration names.
    ///
    /// # Errors
    /// If its name is unknown or `given`, if its files cannot be read, or if its images do not have the
    /// configured shape.
    pub fn load(config: &Data, split: Split) -> Result<Dataset, DataError> {
        let set = match (BuiltIn::named(&config.dataset), config.dataset.as_str()) {
            (Some(name), _) => Dataset::built_in(name, split)?,
            (None, "idx") if config.images.is_some() || config.path.is_none() => {
                let (images, labels, key) = match split {
                    Split::Train => (&config.images, &config.labels, "data.images"),
                    Split::Test => (&config.test_images, &config.test_labels, "data.test_images"),
                };
                let images = images.as_ref().ok_or_else(|| wanting("idx", key))?;
                Dataset::from_idx(images, labels.as_deref())?
            }
            (None, Data::TOY) => {
                let what = "data.dataset = toy: its points are no images; choose a model of images";
                return Err(DataError::Mismatch(what.into()));
            }
            (None, Data::GIVEN) => {
                let what = "data.dataset = given: the program that trained this model gave its images \
                            (Run::train_on); resume it from there, or name a data set";
                return Err(DataError::Mismatch(what.into()));
            }
            (None, _) => Dataset::at(located(config, split)?.0, split, &Wanted::of(config))?,
        };
        source::check_shape(&set, &config.dataset, config)?;
        Ok(set)
    }

    /// A data set that the program contains.
    ///
    /// # Errors
    /// None, unless the program's file is damaged.
    pub fn built_in(name: BuiltIn, split: Split) -> Result<Dataset, DataError> {
        match name {
            BuiltIn::Digits => Dataset::digits(split),
            BuiltIn::DigitsColor => Dataset::digits_color(split),
        }
    }

    /// The built-in handwritten digits, 8 × 8 grey: 1,437 for training, 360 for tests. UCI "Optical
    /// Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998), CC BY 4.0.
    ///
    /// # Errors
    /// None, unless the program's file is damaged.
    pub fn digits(split: Split) -> Result<Dataset, DataError> {
        macro_rules! file {
            ($name:literal) => {
                idx::read(
                    &include_bytes!(concat!("../../assets/digits/", $name, ".gz"))[..],
                    concat!("built-in ", $name),
                )
            };
        }
        let (images, labels) = match split {
            Split::Train => (file!("train-images-idx3-ubyte")?, file!("train-labels-idx1-ubyte")?),
            Split::Test => (file!("test-images-idx3-ubyte")?, file!("test-labels-idx1-ubyte")?),
        };
        Dataset::from_arrays(images, "digits", Some((labels, "digits' labels")))
    }

    /// The same digits in colour, 8 × 8 × 3, each with a random hue h that depends on its number: a level v
    /// becomes v (1 + cos(h − 2π k / 3)) / 2 in channel k = 0, 1, 2. The mean of a pixel's channels is v / 2
    /// for every hue, so that the grey image does not determine the colour.
    ///
    /// # Errors
    /// None, unless the program's file is damaged.
    pub fn digits_color(split: Split) -> Result<Dataset, DataError> {
        let grey = Dataset::digits(split)?;
        let key = Key::new(0, Purpose::Hue).at(u32::from(split == Split::Test));
        let pixels = grey.pixels.iter().enumerate().flat_map(|(i, level)| {
            let number = (i / grey.image_len()) as u32;
            let hue = std::f64::consts::TAU * f64::from(key.rng(number).random::<f32>());
            [0.0, 1.0, 2.0].map(|k| {
                let share = (1.0 + (hue - std::f64::consts::TAU * k / 3.0).cos()) / 2.0;
                (f64::from(*level) * share).round() as u8
            })
        });
        Ok(Dataset { pixels: pixels.collect(), channels: 3, ..grey.clone() })
    }

    /// Levels `[n, h, w, c]` in memory, with the class of each image if there are any.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] if the lengths do not agree.
    pub fn from_levels(
        levels: Vec<u8>,
        shape: [usize; 4],
        labels: Option<Vec<u32>>,
    ) -> Result<Dataset, DataError> {
        source::check_array(levels.len(), shape, labels.as_ref().map(Vec::len))?;
        let [_, h, w, channels] = shape;
        Ok(Dataset {
            pixels: levels,
            labels,
            size: ImageSize::new(h, w),
            channels,
            class_names: Vec::new(),
            skipped: Vec::new(),
        })
    }

    /// Images, and labels if there are any, from IDX files, plain or gzip: `[n, h, w]` or
    /// `[n, h, w, c]` bytes, and `[n]`.
    ///
    /// # Errors
    /// If a file cannot be read, or the numbers of images and labels differ.
    pub fn from_idx(images: &Path, labels: Option<&Path>) -> Result<Dataset, DataError> {
        let names = (images.display().to_string(), labels.map(|path| path.display().to_string()));
        let images = idx::read_file(images)?;
        let labels = labels.map(idx::read_file).transpose()?;
        Dataset::from_arrays(images, &names.0, labels.zip(names.1.as_deref()))
    }

    /// Images from the bytes of an IDX file.
    ///
    /// # Errors
    /// [`DataError::Format`] if they are not an IDX file of images.
    pub fn from_idx_bytes(bytes: &[u8]) -> Result<Dataset, DataError> {
        Dataset::from_arrays(idx::read(bytes, "the file")?, "the file", None)
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.image_len().max(1)
    }

    /// Returns true if there are no images.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// The shape of an image, `[h, w, c]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.size.height, self.size.width, self.channels]
    }

    /// Bytes of one image.
    pub fn image_len(&self) -> usize {
        self.size.pixels() * self.channels
    }

    /// One image's levels, `[h, w, c]`.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.image_len()..][..self.image_len()]
    }

    fn from_arrays(
        images: idx::Idx,
        name: &str,
        labels: Option<(idx::Idx, &str)>,
    ) -> Result<Dataset, DataError> {
        let wrong = |what: String| DataError::Format { path: name.to_string(), what };
        let (n, size, channels) = match images.shape[..] {
            [n, h, w] => (n, ImageSize::new(h, w), 1),
            [n, h, w, c] => (n, ImageSize::new(h, w), c),
            _ => {
                let shape = &images.shape;
                return Err(wrong(format!("its shape {shape:?} is not [n, h, w] or [n, h, w, c]")));
            }
        };
        if n == 0 || size.pixels() == 0 || channels == 0 {
            return Err(wrong("it holds no image".into()));
        }
        if let Some((labels, labels_name)) = &labels
            && labels.shape != [n]
        {
            return Err(DataError::Mismatch(format!(
                "{labels_name}: labels of shape {:?} do not match the {n} images of {name}; name the \
                 file that belongs to them",
                labels.shape
            )));
        }
        let labels = labels.map(|(labels, _)| labels.bytes.into_iter().map(u32::from).collect());
        Ok(Dataset {
            pixels: images.bytes,
            labels,
            size,
            channels,
            class_names: Vec::new(),
            skipped: Vec::new(),
        })
    }
}

impl Source for Dataset {
    fn len(&self) -> usize {
        self.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.shape()
    }

    fn image(&self, index: usize) -> Result<Pixels<'_>, DataError> {
        Ok(Pixels::Levels(Cow::Borrowed(self.image(index))))
    }

    fn label(&self, index: usize) -> Option<usize> {
        self.labels.as_ref().map(|labels| labels[index] as usize)
    }

    fn skipped(&self) -> Vec<String> {
        self.skipped.clone()
    }
}

/// The images or points of a split: in memory or, for pictures in a folder or an archive that would take more than a quarter of the free
/// memory or with `data.cache` unset, decoded whenever they are used.
///
/// # Errors
/// As [`Dataset::load`].
pub fn open(config: &Data, split: Split) -> Result<Box<dyn Source>, DataError> {
    if config.is_points() && config.dataset != Data::GIVEN {
        return Ok(Box::new(load_points(config, split)?));
    }
    #[cfg(feature = "images")]
    if BuiltIn::named(&config.dataset).is_none() && config.dataset != Data::GIVEN && config.images.is_none() {
        let (path, kind) = located(config, split)?;
        if matches!(kind, Kind::Folder | Kind::Archive) {
            let collection = collection::open(path)?;
            let bytes = collection.len() as u64 * config.shape().iter().product::<usize>() as u64;
            if !config.cache || !crate::memory::fits(4 * bytes) {
                return Ok(Box::new(collection.stream(Wanted::of(config))?));
            }
        }
    }
    Ok(Box::new(Dataset::load(config, split)?))
}

/// The path of the images of a split, and its kind.
fn located(config: &Data, split: Split) -> Result<(&Path, Kind), DataError> {
    let (path, key) = match split {
        Split::Train => (&config.path, "data.path"),
        Split::Test => (&config.test_path, "data.test_path"),
    };
    let name = &config.dataset;
    let both = |path: &&PathBuf| Kind::of(path).is_ok_and(Kind::has_splits);
    let path = path.as_ref().or(config.path.as_ref().filter(both)).ok_or_else(|| wanting(name, key))?;
    let kind = Kind::of(path)?;
    match Kind::named(name).filter(|named| *named != kind && !named.is_published()) {
        Some(named) => {
            let what = format!("data.dataset = {named}: {} is of the kind {kind}; set that", path.display());
            Err(DataError::Mismatch(what))
        }
        None => Ok((path, kind)),
    }
}

/// The error of a data set without a path, with the place that publishes it.
fn wanting(name: &str, key: &'static str) -> DataError {
    let source = published::SOURCES.iter().find(|(prefix, _)| name.to_lowercase().starts_with(prefix));
    let published = source.map_or(String::new(), |(_, from)| format!(" ({name} is published at {from})"));
    DataError::NoPath { dataset: name.into(), key, published }
}

/// A level 0..=255 in the model's range: [0, 1], or [−1, 1] if centred (the reference's `get_data_scaler`).
pub fn scale(level: f64, centered: bool) -> f64 {
    let unit = level / 255.0;
    if centered { 2.0 * unit - 1.0 } else { unit }
}

/// Image number `index`, uniformly dequantised to (level + u) / 256 with u in [0, 1), in the model's range:
/// continuous data for a density.
pub fn dequantised(set: &Dataset, index: usize, key: Key, centered: bool) -> impl Iterator<Item = f32> + '_ {
    let mut noise = key.rng(index as u32);
    set.image(index).iter().map(move |level| {
        let unit = (f64::from(*level) + f64::from(noise.random::<f32>())) / 256.0;
        scale(255.0 * unit, centered) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idx(shape: &[usize]) -> idx::Idx {
        idx::Idx { shape: shape.to_vec(), bytes: vec![7; shape.iter().product()] }
    }

    #[test]
    fn the_digits_are_1437_and_360_images_of_ten_classes() {
        for (split, count) in [(Split::Train, 1437), (Split::Test, 360)] {
            let set = Dataset::digits(split).unwrap();
            assert_eq!((set.len(), set.shape()), (count, [8, 8, 1]));
            let labels = set.labels.unwrap();
            assert_eq!(labels.len(), count);
            assert!((0..10).all(|class| labels.contains(&class)) && labels.iter().all(|class| *class < 10));
        }
    }

    #[test]
    fn digits_in_colour_have_a_hue_each_and_half_the_grey() {
        for split in [Split::Train, Split::Test] {
            let (grey, colour) = (Dataset::digits(split).unwrap(), Dataset::digits_color(split).unwrap());
            assert_eq!((colour.len(), colour.channels, &colour.labels), (grey.len(), 3, &grey.labels));
            let sums = colour.pixels.chunks(3).map(|p| p.iter().map(|v| f64::from(*v)).sum::<f64>());
            // Each channel is rounded to a level.
            assert!(sums.zip(&grey.pixels).all(|(sum, v)| (sum - 1.5 * f64::from(*v)).abs() <= 1.5));
            // On average the channels are equally strong, so each is the strongest in a third of the images.
            let reddest = |i: usize| {
                let sum =
                    |k: usize| colour.image(i).iter().skip(k).step_by(3).map(|v| u32::from(*v)).sum::<u32>();
                sum(0) > sum(1).max(sum(2))
            };
            let share = (0..colour.len()).filter(|i| reddest(*i)).count() as f64 / colour.len() as f64;
            let error = (2.0 / 9.0 / colour.len() as f64).sqrt();
            assert!((share - 1.0 / 3.0).abs() < 5.0 * error, "{share}");
        }
    }

    #[test]
    fn labels_that_do_not_match_are_refused() {
        let refused = |images: &[usize], labels: &[usize]| {
            Dataset::from_arrays(idx(images), "images", Some((idx(labels), "labels")))
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&[3, 2, 2], &[4]).contains("labels: labels of shape [4] do not match the 3 images"));
        assert!(refused(&[3, 4], &[3]).contains("not [n, h, w]"));
        assert!(refused(&[0, 2, 2], &[0]).contains("no image"));
    }

    #[test]
    fn levels_are_scaled_to_the_models_range() {
        assert_eq!((scale(0.0, false), scale(255.0, false)), (0.0, 1.0));
        assert_eq!((scale(0.0, true), scale(255.0, true)), (-1.0, 1.0));
    }
}
