//! A survey of a data set: what it holds, before anything is trained on it.

use super::collection::{self, Collection, Header};
use super::{DataError, Dataset, Kind, Split, Wanted};
use crate::config::ImageSize;
use std::collections::BTreeMap;
use std::path::Path;

/// The images of a path: their number, sizes and classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// The number of images that can be read.
    pub images: usize,
    /// The sizes of the images with their numbers, the commonest first.
    pub sizes: Vec<(ImageSize, usize)>,
    /// 1 if all images are grey, else 3; the channels of an array.
    pub channels: usize,
    /// The classes with their numbers of images; empty without labels.
    pub classes: Vec<(String, usize)>,
    /// Files that cannot be read or hold no images, as `name (reason)`.
    pub skipped: Vec<String>,
}

/// The largest extent of the images that [`Survey::image_size`] suggests.
const LARGEST: usize = 64;

impl Survey {
    /// Surveys a path of any [`Kind`]; of pictures only the headers are decoded.
    ///
    /// # Errors
    /// If the path cannot be read, or holds no image.
    pub fn of(path: &Path) -> Result<Survey, DataError> {
        match Kind::of(path)? {
            Kind::Folder | Kind::Archive => Survey::of_pictures(&collection::open(path)?),
            _ => Ok(Survey::of_set(&Dataset::at(path, Split::Train, &Wanted::default())?)),
        }
    }

    /// Surveys images in memory.
    pub fn of_set(set: &Dataset) -> Survey {
        let name = |label: &u32| set.class_names.get(*label as usize).cloned().unwrap_or(label.to_string());
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        set.labels.iter().flatten().for_each(|label| *counts.entry(*label).or_default() += 1);
        Survey {
            images: set.len(),
            sizes: vec![(set.size, set.len())],
            channels: set.channels,
            classes: counts.iter().map(|(label, count)| (name(label), *count)).collect(),
            skipped: set.skipped.clone(),
        }
    }

    fn of_pictures(collection: &Collection) -> Result<Survey, DataError> {
        let (mut sizes, mut classes) = (BTreeMap::<[usize; 2], usize>::new(), BTreeMap::<u32, usize>::new());
        let (mut skipped, mut channels) = (Vec::new(), 1);
        for Header { name, label, shape } in collection.headers()? {
            match shape {
                Ok([h, w, c]) => {
                    *sizes.entry([h, w]).or_default() += 1;
                    label.into_iter().for_each(|label| *classes.entry(label).or_default() += 1);
                    channels = channels.max(if c > 2 { 3 } else { 1 });
                }
                Err(what) => skipped.push(format!("{name} ({what})")),
            }
        }
        let images = sizes.values().sum();
        if let (0, Some(bad)) = (images, skipped.first()) {
            return Err(collection.wrong(format!("none of its pictures can be read, the first is {bad}")));
        }
        skipped.extend(collection.others());
        let mut sizes: Vec<_> = sizes.into_iter().map(|([h, w], n)| (ImageSize::new(h, w), n)).collect();
        sizes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let names = collection.class_names();
        let name = |label: u32| names.get(label as usize).cloned().unwrap_or(label.to_string());
        let classes = classes.into_iter().map(|(label, count)| (name(label), count)).collect();
        Ok(Survey { images, sizes, channels, classes, skipped })
    }

    /// A size for the images of a model: their own, if all have the same, it can be halved twice, and neither extent exceeds 64;
    /// else a square of the largest power of 2 up to 64 that the shorter side of half of the images reaches.
    pub fn image_size(&self) -> ImageSize {
        if let [(size, _)] = self.sizes[..]
            && size.can_be_halved(2)
            && size.longest() <= LARGEST
        {
            return size;
        }
        let mut shorter: Vec<(usize, usize)> =
            self.sizes.iter().map(|(size, count)| (size.height.min(size.width), *count)).collect();
        shorter.sort_unstable();
        let mut below = 0;
        let median = shorter.iter().find(|(_, count)| {
            below += count;
            2 * below >= self.images
        });
        let median = median.map_or(LARGEST, |(side, _)| *side).clamp(4, LARGEST);
        ImageSize::from(1 << median.ilog2())
    }
}

impl Dataset {
    /// At most `most` images spread over a path of any [`Kind`], as `wanted`, without those that cannot be read.
    ///
    /// # Errors
    /// If the path cannot be read, or holds no image.
    pub fn some_of(path: &Path, most: usize, wanted: &Wanted) -> Result<Dataset, DataError> {
        match Kind::of(path)? {
            Kind::Folder | Kind::Archive => {
                let mut collection = collection::open(path)?;
                collection.spread(most);
                collection.load(&Wanted { skip_bad: true, ..*wanted })
            }
            _ => Ok(Dataset::at(path, Split::Train, wanted)?.spread(most)),
        }
    }

    /// At most `most` of the images, spread over the set.
    pub fn spread(self, most: usize) -> Dataset {
        let kept: Vec<usize> =
            (0..most.min(self.len())).map(|i| i * self.len() / most.min(self.len())).collect();
        let labels = self.labels.as_ref().map(|labels| kept.iter().map(|i| labels[*i]).collect());
        let pixels = kept.iter().flat_map(|i| self.image(*i)).copied().collect();
        Dataset { pixels, labels, ..self }
    }

    /// The smallest and the largest level, their mean and their standard deviation.
    pub fn levels(&self) -> (u8, u8, f64, f64) {
        let mut counts = [0u64; 256];
        self.pixels.iter().for_each(|level| counts[usize::from(*level)] += 1);
        let found: Vec<(f64, f64)> = (0..256)
            .map(|level| (f64::from(level), counts[level as usize] as f64))
            .filter(|(_, n)| *n > 0.0)
            .collect();
        let n: f64 = found.iter().map(|(_, n)| n).sum();
        let mean = found.iter().map(|(level, n)| level * n).sum::<f64>() / n;
        let variance = found.iter().map(|(level, n)| (level - mean).powi(2) * n).sum::<f64>() / n;
        let end = |at: Option<&(f64, f64)>| at.map_or(0, |(level, _)| *level as u8);
        (end(found.first()), end(found.last()), mean, variance.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(sizes: &[(usize, usize, usize)]) -> Survey {
        let sizes: Vec<_> = sizes.iter().map(|(h, w, n)| (ImageSize::new(*h, *w), *n)).collect();
        let images = sizes.iter().map(|(_, n)| n).sum();
        Survey { images, sizes, channels: 3, classes: Vec::new(), skipped: Vec::new() }
    }

    #[test]
    fn the_suggested_size_is_the_images_own_or_a_power_of_2_that_most_of_them_reach() {
        for (sizes, suggested) in [
            (&[(28, 28, 10)][..], [28, 28]),
            (&[(48, 64, 10)], [48, 64]),
            (&[(138, 138, 10)], [64, 64]),
            (&[(30, 30, 10)], [16, 16]),
            (&[(32, 32, 6), (500, 400, 4)], [32, 32]),
            (&[(32, 32, 4), (500, 400, 6)], [64, 64]),
            (&[(3, 3, 1)], [4, 4]),
        ] {
            let size = survey(sizes).image_size();
            assert_eq!([size.height, size.width], suggested, "{sizes:?}");
        }
    }

    #[test]
    fn a_survey_counts_images_and_classes_and_a_spread_keeps_their_order() {
        let pixels: Vec<u8> = (0..40).collect();
        let set =
            Dataset::from_levels(pixels, [10, 2, 2, 1], Some(vec![0, 1, 0, 1, 0, 1, 0, 1, 0, 300])).unwrap();
        let survey = Survey::of_set(&set);
        assert_eq!((survey.images, survey.channels), (10, 1));
        assert_eq!(survey.classes, [("0".to_string(), 5), ("1".into(), 4), ("300".into(), 1)]);
        assert_eq!(set.levels().0, 0);
        let (low, high, mean, deviation) = set.levels();
        assert_eq!((low, high, mean), (0, 39, 19.5));
        assert!((deviation - ((1600.0f64 - 1.0) / 12.0).sqrt()).abs() < 1e-12);
        let few = set.spread(3);
        assert_eq!(few.labels, Some(vec![0, 1, 0]));
        assert_eq!((few.image(1)[0], few.len()), (12, 3));
    }
}
