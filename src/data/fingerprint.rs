//! The identity of a data set: its contents, wherever its files are.

use super::{DataError, Pixels, Source};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// The identity of a data set by its contents: two sets with the same fingerprint train the same weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Number of images.
    pub count: usize,
    /// Height, width and channels.
    pub shape: [usize; 3],
    /// SHA-256 of images and labels, at most 4,096 of them spread over the set, in hexadecimal.
    pub sha256: String,
}

/// The largest number of images that are hashed: a source may read each of them from a disk.
const MOST: usize = 4096;

impl Fingerprint {
    /// The fingerprint of a source.
    ///
    /// # Errors
    /// If the source cannot give an image.
    pub fn of(source: &dyn Source) -> Result<Fingerprint, DataError> {
        let (count, hashed) = (source.len(), source.len().min(MOST));
        let mut hasher = Sha256::new();
        for i in 0..hashed {
            let index = i * count / hashed;
            match source.image(index)? {
                Pixels::Levels(levels) => hasher.update(&levels),
                Pixels::Values(values) => hasher.update(bytemuck::cast_slice(&values)),
            }
            let label = source.label(index).map_or(u64::MAX, |label| label as u64);
            hasher.update(label.to_le_bytes());
        }
        let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Fingerprint { count, shape: source.shape(), sha256 })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [h, w, c] = self.shape;
        write!(f, "{} images of {w}x{h}x{c} (SHA-256 {:.8}…)", self.count, self.sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::FloatDataset;

    fn set(values: &[f32], labels: Option<Vec<usize>>) -> Fingerprint {
        let set = FloatDataset::new(values.to_vec(), [2, 1, 2, 1], labels).unwrap();
        Fingerprint::of(&set).unwrap()
    }

    #[test]
    fn a_fingerprint_depends_on_pixels_order_and_labels() {
        let own = set(&[0.0, 0.25, 0.5, 1.0], None);
        assert_eq!((own.count, own.shape), (2, [1, 2, 1]));
        assert_eq!(own.sha256.len(), 64);
        assert_eq!(own, set(&[0.0, 0.25, 0.5, 1.0], None));
        for other in [
            set(&[0.0, 0.25, 0.5, 0.75], None),
            set(&[0.5, 1.0, 0.0, 0.25], None),
            set(&[0.0, 0.25, 0.5, 1.0], Some(vec![0, 1])),
        ] {
            assert_ne!(own.sha256, other.sha256);
        }
    }
}
