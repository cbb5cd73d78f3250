//! A part of a source's images: those to train on, or those held out.

use super::{DataError, Pixels, Source};

/// Images of a source by number.
pub struct Part<'a> {
    source: &'a dyn Source,
    indices: Vec<usize>,
}

impl<'a> Part<'a> {
    /// The images of a source to train on, and `hold_out` others, which are spread evenly over the set: a
    /// source may be sorted by class.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] if none is left to train on.
    pub fn split(source: &'a dyn Source, hold_out: usize) -> Result<[Part<'a>; 2], DataError> {
        let len = source.len();
        if hold_out >= len {
            let what = format!(
                "data.hold_out = {hold_out}: of {len} images none is left to train on; choose a smaller number"
            );
            return Err(DataError::Mismatch(what));
        }
        let held: Vec<usize> = spread(len, hold_out).collect();
        let left = (0..len).filter(|index| held.binary_search(index).is_err()).collect();
        Ok([left, held].map(|indices| Part { source, indices }))
    }
}

/// `count` numbers below `len`, at equal distances.
pub(crate) fn spread(len: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |i| (i as u128 * len as u128 / count as u128) as usize)
}

impl Source for Part<'_> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.source.shape()
    }

    fn image(&self, index: usize) -> Result<Pixels<'_>, DataError> {
        self.source.image(self.indices[index])
    }

    fn label(&self, index: usize) -> Option<usize> {
        self.source.label(self.indices[index])
    }

    fn skipped(&self) -> Vec<String> {
        self.source.skipped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Split};

    #[test]
    fn every_image_is_in_one_of_the_two_parts_and_each_class_in_both() {
        let digits = Dataset::digits(Split::Train).unwrap();
        let [left, held] = Part::split(&digits, 200).unwrap();
        assert_eq!((left.len(), held.len()), (1237, 200));
        let mut all = [&left.indices[..], &held.indices[..]].concat();
        all.sort_unstable();
        assert_eq!(all, (0..1437).collect::<Vec<_>>());
        for part in [&left, &held] {
            let classes: Vec<usize> = (0..part.len()).filter_map(|index| part.label(index)).collect();
            assert!((0..10).all(|class| classes.contains(&class)));
            assert_eq!(part.image(7).unwrap(), Source::image(&digits, part.indices[7]).unwrap());
        }
        assert!(Part::split(&digits, 1437).is_err());
    }
}
