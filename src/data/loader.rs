//! The order of the data: a function of the seed and the step alone, so that training resumes where it
//! stopped.

use super::source::check_shape;
use super::{DataError, Pixels, Source, scale};
use crate::config::Data;
use crate::random::{Draw, Purpose};
use rand::{Rng, RngCore};
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

/// Batches of a source, by step. Every epoch contains every image once, in an order of its own; a batch may
/// begin in one epoch and end in the next.
pub struct Loader<S> {
    source: S,
    batch: usize,
    seed: u64,
    centered: bool,
    flip: bool,
    dequantize: bool,
    /// The epoch used last, and its order.
    epoch: Option<(u32, Vec<u32>)>,
}

/// The fewest values of a batch that several threads make.
const MANY: usize = 1 << 15;

/// The number of batches that are made ahead of their use.
const DEPTH: usize = 2;

/// Batches of a [`Loader`] for steps in a row, made by a thread while the device computes.
pub struct Ahead {
    batches: Receiver<(u32, Result<Batch, DataError>)>,
}

impl Ahead {
    /// Begins to make the batches of `steps`. The thread ends after the last one, after an error, or when the value is dropped.
    pub fn spawn<'scope, S: Source + Send + 'scope>(
        scope: &'scope Scope<'scope, '_>,
        mut loader: Loader<S>,
        steps: Range<u32>,
    ) -> Ahead {
        let (made, batches) = sync_channel(DEPTH);
        scope.spawn(move || {
            for step in steps {
                let batch = loader.batch(step);
                let failed = batch.is_err();
                if made.send((step, batch)).is_err() || failed {
                    return;
                }
            }
        });
        Ahead { batches }
    }

    /// The batch of a step, the next of those it was begun with.
    ///
    /// # Errors
    /// The errors of [`Loader::batch`]; [`DataError::Mismatch`] for any other step.
    pub fn batch(&self, step: u32) -> Result<Batch, DataError> {
        match self.batches.recv() {
            Ok((made, batch)) if made == step => batch,
            _ => Err(DataError::Mismatch(format!("no batch was made for step {step}"))),
        }
    }
}

/// The result of a thread; its panic is this one's.
fn ended<T>(worker: std::thread::ScopedJoinHandle<'_, T>) -> T {
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The images of one training step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Images in the model's range, `[batch, h, w, c]`.
    pub images: Vec<f32>,
    /// The class of each image, if the data are labelled.
    pub labels: Option<Vec<usize>>,
}

impl<S: Source> Loader<S> {
    /// Batches of `batch` images.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] if there are no images, or more than 2³² − 1, or if they do not have the
    /// configured shape.
    pub fn new(source: S, config: &Data, batch: usize, seed: u64) -> Result<Loader<S>, DataError> {
        check_shape(&source, &config.dataset, config)?;
        if source.is_empty() || u32::try_from(source.len()).is_err() {
            let what = format!("{} images: training needs 1 to {}", source.len(), u32::MAX);
            return Err(DataError::Mismatch(what));
        }
        Ok(Loader {
            source,
            batch,
            seed,
            centered: config.centered,
            flip: config.random_flip,
            dequantize: config.uniform_dequantization,
            epoch: None,
        })
    }

    /// The batch of a step.
    ///
    /// # Errors
    /// If the source fails to provide an image, or the image does not have the source's shape; for float
    /// images with `data.uniform_dequantization`.
    pub fn batch(&mut self, step: u32) -> Result<Batch, DataError> {
        let indices = self.indices(step);
        self.gather(&indices, Draw::new(self.seed).at(step))
    }

    /// The images of these numbers, flipped and dequantised with random numbers of `draw`.
    ///
    /// # Errors
    /// The errors of [`Loader::batch`].
    pub fn gather(&self, indices: &[usize], draw: Draw) -> Result<Batch, DataError> {
        let images = self.images(indices, draw)?;
        Ok(Batch { images, labels: indices.iter().map(|index| self.source.label(*index)).collect() })
    }

    /// Images by number, made on all cores if they are many.
    fn images(&self, indices: &[usize], draw: Draw) -> Result<Vec<f32>, DataError> {
        let image_len = self.source.shape().iter().product::<usize>();
        let part = |first: usize, indices: &[usize]| -> Result<Vec<f32>, DataError> {
            let mut images = Vec::with_capacity(indices.len() * image_len);
            for (sample, index) in indices.iter().enumerate() {
                self.append(&mut images, draw.from(draw.first + (first + sample) as u32), *index)?;
            }
            Ok(images)
        };
        if indices.len() * image_len < MANY {
            return part(0, indices);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let each = indices.len().div_ceil(cores);
        let parts: Result<Vec<Vec<f32>>, DataError> = std::thread::scope(|scope| {
            let part = &part;
            let parts = indices.chunks(each).enumerate();
            let begun: Vec<_> =
                parts.map(|(i, indices)| scope.spawn(move || part(i * each, indices))).collect();
            begun.into_iter().map(ended).collect()
        });
        Ok(parts?.concat())
    }

    /// The numbers of a step's images.
    pub fn indices(&mut self, step: u32) -> Vec<usize> {
        let (len, batch) = (self.source.len() as u64, self.batch as u64);
        let first = u64::from(step) * batch;
        (first..first + batch)
            .map(|position| self.order((position / len) as u32)[(position % len) as usize] as usize)
            .collect()
    }

    fn order(&mut self, epoch: u32) -> &[u32] {
        if self.epoch.as_ref().is_none_or(|(held, _)| *held != epoch) {
            let key = Draw::new(self.seed).at(epoch).key(Purpose::Order);
            self.epoch = Some((epoch, key.permutation(self.source.len())));
        }
        self.epoch.as_ref().map_or(&[], |(_, order)| order)
    }

    /// Appends image number `index` in the model's range, flipped and dequantised with random numbers of
    /// `draw`.
    fn append(&self, values: &mut Vec<f32>, draw: Draw, index: usize) -> Result<(), DataError> {
        let [h, w, c] = self.source.shape();
        let image = self.source.image(index)?;
        if image.len() != h * w * c {
            let error = format!("it has {} values, not {h} x {w} x {c}", image.len()).into();
            return Err(DataError::Source { index, error });
        }
        let flipped = self.flip && draw.key(Purpose::Flip).rng(0).next_u32() & 1 == 1;
        let mirrored = |i: usize| {
            let (row, x, channel) = (i / (w * c), i / c % w, i % c);
            (row * w + w - 1 - x) * c + channel
        };
        let from = |i: usize| if flipped { mirrored(i) } else { i };
        let mut noise = draw.key(Purpose::Dequantisation).rng(0);
        match image {
            Pixels::Levels(levels) => values.extend((0..levels.len()).map(|i| {
                let mut level = f64::from(levels[from(i)]);
                if self.dequantize {
                    level = (level + f64::from(noise.random::<f32>())) * 255.0 / 256.0;
                }
                scale(level, self.centered) as f32
            })),
            Pixels::Values(_) if self.dequantize => {
                let what =
                    "data.uniform_dequantization = true needs integer levels, and the images are floats";
                return Err(DataError::Mismatch(what.into()));
            }
            Pixels::Values(image) => values.extend((0..image.len()).map(|i| image[from(i)])),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, FloatDataset};

    fn config(flip: bool, dequantize: bool) -> Data {
        Data {
            dataset: "digits".into(),
            image_size: 2.into(),
            num_channels: 1,
            random_flip: flip,
            uniform_dequantization: dequantize,
            ..Data::default()
        }
    }

    /// Ten images of 2 × 2 whose left column is the image's number and whose right column is 100.
    fn loader(flip: bool, dequantize: bool) -> Loader<Dataset> {
        let pixels = (0..10).flat_map(|i| [i, 100, i, 100]).collect();
        let set = Dataset {
            pixels,
            labels: None,
            size: 2.into(),
            channels: 1,
            class_names: Vec::new(),
            skipped: Vec::new(),
        };
        Loader::new(set, &config(flip, dequantize), 4, 1).expect("a loader")
    }

    #[test]
    fn an_epoch_shows_every_image_once_and_a_step_is_the_same_whenever_it_is_asked_for() {
        let mut loader = loader(false, false);
        let steps: Vec<Vec<usize>> = (0..5).map(|step| loader.indices(step)).collect();
        let shown: Vec<usize> = steps.concat();
        for epoch in shown.chunks(10) {
            let mut epoch = epoch.to_vec();
            epoch.sort_unstable();
            assert_eq!(epoch, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(shown[..10], shown[10..]);
        assert_eq!(loader.indices(2), steps[2]);
    }

    #[test]
    fn a_label_comes_with_its_image() {
        let mut loader = loader(false, false);
        assert_eq!(loader.batch(0).unwrap().labels, None);
        // The label of an image is its left column.
        loader.source.labels = Some((0..10).collect());
        let Batch { images, labels } = loader.batch(2).unwrap();
        let shown: Vec<usize> = images.chunks(4).map(|image| (image[0] * 255.0).round() as usize).collect();
        assert_eq!(labels, Some(shown));
    }

    #[test]
    fn batches_made_ahead_or_on_several_threads_are_the_same() {
        let pixels: Vec<u8> = (0..64 * 32 * 32u64).map(|i| (i * i % 251) as u8).collect();
        let set = Dataset::from_levels(pixels, [64, 32, 32, 1], Some((0..64).collect())).expect("a set");
        let config = Data { image_size: 32.into(), ..config(true, true) };
        let loader = || Loader::new(&set, &config, 48, 3).expect("a loader");
        const { assert!(48 * 32 * 32 >= MANY && 1024 < MANY) };
        std::thread::scope(|scope| {
            let ahead = Ahead::spawn(scope, loader(), 5..8);
            for step in 5..8 {
                let batch = ahead.batch(step).unwrap();
                assert_eq!(batch, loader().batch(step).unwrap());
                // Alone, the last image is made without threads.
                let index = loader().indices(step)[47];
                let mut alone = Vec::new();
                loader().append(&mut alone, Draw::new(3).at(step).from(47), index).unwrap();
                assert_eq!(alone, batch.images[47 * 1024..]);
            }
            assert!(matches!(ahead.batch(8), Err(DataError::Mismatch(_))));
        });
    }

    #[test]
    fn half_of_the_images_are_flipped() {
        let mut loader = loader(true, false);
        let images: Vec<f32> = (0..250).flat_map(|step| loader.batch(step).unwrap().images).collect();
        let flipped = images.chunks(4).filter(|image| image[0] > image[1]).count();
        assert!((400..600).contains(&flipped), "{flipped} of 1000");
    }

    #[test]
    fn dequantisation_stays_within_the_level_it_began_in() {
        let (mut plain, mut noisy) = (loader(false, false), loader(false, true));
        for (level, value) in plain.batch(3).unwrap().images.into_iter().zip(noisy.batch(3).unwrap().images) {
            let level = level * 255.0;
            assert!((level / 256.0..(level + 1.0) / 256.0).contains(&value), "{value} is not in {level}");
        }
    }

    #[test]
    fn floats_are_flipped_and_not_scaled_and_dequantising_them_is_refused() {
        let config = |flip, dequantize| Data { centered: true, ..config(flip, dequantize) };
        let set = FloatDataset::new(vec![-0.5, 7.0, -0.5, 7.0], [1, 2, 2, 1], None).unwrap();
        let mut loader = Loader::new(&set, &config(true, false), 100, 1).unwrap();
        let images = loader.batch(0).unwrap().images;
        let flipped = images.chunks(4).filter(|image| **image == [7.0, -0.5, 7.0, -0.5]).count();
        let kept = images.chunks(4).filter(|image| **image == [-0.5, 7.0, -0.5, 7.0]).count();
        assert!(flipped + kept == 100 && (30..70).contains(&flipped), "{flipped}");
        assert!(Loader::new(&set, &config(false, true), 1, 1).unwrap().batch(0).is_err());
    }

    #[test]
    fn an_image_of_another_shape_than_its_source_is_refused() {
        struct Short;
        impl Source for Short {
            fn len(&self) -> usize {
                5
            }
            fn shape(&self) -> [usize; 3] {
                [2, 2, 1]
            }
            fn image(&self, _: usize) -> Result<Pixels<'_>, DataError> {
                Ok(Pixels::Values(vec![0.0; 3].into()))
            }
        }
        let mut loader = Loader::new(Short, &config(false, false), 1, 1).unwrap();
        assert!(matches!(loader.batch(0), Err(DataError::Source { .. })));
        let larger = Data { image_size: 4.into(), ..config(false, false) };
        assert!(matches!(Loader::new(Short, &larger, 1, 1), Err(DataError::Mismatch(_))));
    }
}
