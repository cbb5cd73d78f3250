//! CIFAR-10 in its binary version: files of records of a label and 3 × 32 × 32 levels, channel by channel.

use super::{DataError, Dataset, Split};
use crate::files;
use std::path::{Path, PathBuf};

/// Height and width.
const SIZE: usize = 32;
/// Bytes of an image.
const IMAGE: usize = 3 * SIZE * SIZE;

/// Returns true if a folder holds a batch of CIFAR-10.
pub(super) fn is_folder(folder: &Path) -> bool {
    !batches(folder, Split::Train).is_empty() || !batches(folder, Split::Test).is_empty()
}

/// Returns true if a folder holds the Python version of CIFAR-10, whose files are pickles.
pub(super) fn is_python(folder: &Path) -> bool {
    ["data_batch_1", "test_batch"].iter().any(|name| folder.join(name).is_file())
}

/// The files of a split that are there.
fn batches(folder: &Path, split: Split) -> Vec<PathBuf> {
    let names: &[&str] = match split {
        Split::Train => &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        Split::Test => &["test_batch.bin"],
    };
    names.iter().map(|name| folder.join(name)).filter(|path| path.exists()).collect()
}

/// The images of a split, with their classes.
///
/// # Errors
/// If the folder has none, or a file is not whole.
pub(super) fn read(folder: &Path, split: Split) -> Result<Dataset, DataError> {
    let files = batches(folder, split);
    if files.is_empty() {
        let what = match split {
            Split::Train => "it holds no data_batch_1.bin to data_batch_5.bin",
            Split::Test => "it holds no test_batch.bin",
        };
        return Err(DataError::Format { path: folder.display().to_string(), what: what.into() });
    }
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for path in files {
        let name = path.display().to_string();
        let bytes =
            files::read(&path).map_err(|e| DataError::Read { path: name.clone(), reason: e.to_string() })?;
        let wrong = |what: &str| DataError::Format { path: name.clone(), what: what.into() };
        if bytes.is_empty() || !bytes.len().is_multiple_of(1 + IMAGE) {
            return Err(wrong("it is no whole number of records of 3073 bytes, a label and an image"));
        }
        for record in bytes.chunks_exact(1 + IMAGE) {
            if record[0] > 9 {
                return Err(wrong("it holds a label above 9; is it CIFAR-10's binary version?"));
            }
            labels.push(u32::from(record[0]));
            let plane = SIZE * SIZE;
            pixels.extend((0..IMAGE).map(|i| record[1 + i % 3 * plane + i / 3]));
        }
    }
    Dataset::from_levels(pixels, [labels.len(), SIZE, SIZE, 3], Some(labels))
}
