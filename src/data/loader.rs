//! The order of the data: a function of the seed and the step alone, so that training resumes where it stopped.

use super::{Dataset, scale};
use crate::config::Data;
use crate::random::{Key, Purpose};

/// Batches of a data set, by step. Every epoch shows every image once, in an order of its own; a batch may begin in one
/// epoch and end in the next.
pub struct Loader {
    set: Dataset,
    batch: usize,
    seed: u64,
    centered: bool,
    flip: bool,
    dequantize: bool,
    /// The epoch whose order is at hand.
    epoch: Option<(u32, Vec<u32>)>,
}

/// What one step is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Images in the model's range, `[batch, h, w, c]`.
    pub images: Vec<f32>,
    /// The class of each, if the data have any.
    pub labels: Option<Vec<u8>>,
}

impl Loader {
    /// Batches of `batch` images.
    pub fn new(set: Dataset, config: &Data, batch: usize, seed: u64) -> Loader {
        Loader {
            set,
            batch,
            seed,
            centered: config.centered,
            flip: config.random_flip,
            dequantize: config.uniform_dequantization,
            epoch: None,
        }
    }

    /// What a step is shown.
    pub fn batch(&mut self, step: u32) -> Batch {
        let indices = self.indices(step);
        let mut images = Vec::with_capacity(self.batch * self.set.image_len());
        for (sample, index) in indices.iter().enumerate() {
            self.append(&mut images, step, sample as u32, *index);
        }
        let labels = self.set.labels.as_ref();
        Batch { images, labels: labels.map(|labels| indices.iter().map(|index| labels[*index]).collect()) }
    }

    /// Which images a step shows.
    pub fn indices(&mut self, step: u32) -> Vec<usize> {
        let (len, batch) = (self.set.len(), self.batch);
        let first = u64::from(step) * batch as u64;
        (first..first + batch as u64)
            .map(|position| {
                self.order((position / len as u64) as u32)[(position % len as u64) as usize] as usize
            })
            .collect()
    }

    fn order(&mut self, epoch: u32) -> &[u32] {
        if self.epoch.as_ref().is_none_or(|(held, _)| *held != epoch) {
            let key = Key::new(self.seed, Purpose::Order).at(epoch);
            self.epoch = Some((epoch, key.permutation(self.set.len())));
        }
        self.epoch.as_ref().map_or(&[], |(_, order)| order)
    }

    fn append(&self, values: &mut Vec<f32>, step: u32, sample: u32, index: usize) {
        let (size, channels) = (self.set.size, self.set.channels);
        let image = self.set.image(index);
        let key = |purpose| Key::new(self.seed, purpose).at(step);
        let flipped = self.flip && key(Purpose::Flip).bits(sample, 0)[0] & 1 == 1;
        for (i, pixel) in image.chunks(channels).enumerate() {
            let (y, x) = (i / size, i % size);
            let pixel =
                if flipped { &image[(y * size + size - 1 - x) * channels..][..channels] } else { pixel };
            for (c, level) in pixel.iter().enumerate() {
                let mut level = f64::from(*level);
                if self.dequantize {
                    let element = (i * channels + c) as u32;
                    let noise =
                        key(Purpose::Dequantisation).uniform(sample, element / 4)[element as usize % 4];
                    level = (level + f64::from(noise)) * 255.0 / 256.0;
                }
                values.push(scale(level, self.centered) as f32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loader(flip: bool, dequantize: bool) -> Loader {
        // Ten images of 2 × 2 whose left column is the image's number and whose right column is 100.
        let pixels = (0..10).flat_map(|i| [i, 100, i, 100]).collect();
        let set = Dataset { pixels, labels: None, size: 2, channels: 1 };
        let config = Data {
            dataset: "digits".into(),
            image_size: 2,
            num_channels: 1,
            centered: false,
            random_flip: flip,
            uniform_dequantization: dequantize,
            images: None,
            labels: None,
            test_images: None,
            test_labels: None,
        };
        Loader::new(set, &config, 4, 1)
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
        assert_eq!(loader.batch(0).labels, None);
        // The label of an image is its left column.
        loader.set.labels = Some((0..10).collect());
        let Batch { images, labels } = loader.batch(2);
        let shown: Vec<u8> = images.chunks(4).map(|image| (image[0] * 255.0).round() as u8).collect();
        assert_eq!(labels, Some(shown));
    }

    #[test]
    fn half_of_the_images_are_flipped() {
        let mut loader = loader(true, false);
        let images: Vec<f32> = (0..250).flat_map(|step| loader.batch(step).images).collect();
        let flipped = images.chunks(4).filter(|image| image[0] > image[1]).count();
        assert!((400..600).contains(&flipped), "{flipped} of 1000");
    }

    #[test]
    fn dequantisation_stays_within_the_level_it_began_in() {
        let (mut plain, mut noisy) = (loader(false, false), loader(false, true));
        for (level, value) in plain.batch(3).images.into_iter().zip(noisy.batch(3).images) {
            let level = level * 255.0;
            assert!((level / 256.0..(level + 1.0) / 256.0).contains(&value), "{value} is not in {level}");
        }
    }
}
