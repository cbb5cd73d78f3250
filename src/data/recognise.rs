//! Data by a path, whose contents say what they are.

use super::{DataError, Dataset, Split, cifar, points};
use crate::choice::choices;
use crate::config::{Data, Fit};
use crate::files;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The images that are wanted of a path.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Height, width and channels; those of the first picture if left open.
    pub shape: Option<[usize; 3]>,
    /// The middle square of this many pixels is cut out of every picture first; 0 for the whole picture.
    pub crop: usize,
    /// The way in which pictures of other shapes become images.
    pub fit: Fit,
    /// Leave out pictures that cannot be read.
    pub skip_bad: bool,
}

impl Wanted {
    /// The images that a configuration describes.
    pub fn of(config: &Data) -> Wanted {
        Wanted { shape: Some(config.shape()), crop: config.crop, fit: config.fit, skip_bad: config.skip_bad }
    }
}

choices! {
    /// The kinds of data in files.
    pub enum Kind {
        /// An IDX file, plain or gzip.
        Idx = "idx",
        /// A folder with MNIST's four files.
        Mnist = "mnist",
        /// A folder with the binary version of CIFAR-10.
        Cifar10 = "cifar10",
        /// An array of numpy, `.npy` or `.npz`.
        Array = "npy",
        /// Pictures in a folder and the folders in it.
        Folder = "folder",
        /// Pictures in an archive.
        Archive = "zip",
        /// Points of the plane, in a text or an array of numpy.
        Points = "points",
    }
}

impl Kind {
    /// The kind of a file or folder, by its contents.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(path: &Path) -> Result<Kind, DataError> {
        let unreadable =
            |e: std::io::Error| DataError::Read { path: path.display().to_string(), reason: e.to_string() };
        if path.is_dir() {
            return Ok(match () {
                () if cifar::is_folder(path) => Kind::Cifar10,
                () if cifar::is_python(path) => {
                    let what = "it is the Python version of CIFAR-10; take the binary version".into();
                    return Err(DataError::Format { path: path.display().to_string(), what });
                }
                () if mnist(path, Split::Train).is_some() => Kind::Mnist,
                () => Kind::Folder,
            });
        }
        let mut start = Vec::new();
        files::open(path).map_err(unreadable)?.take(6).read_to_end(&mut start).map_err(unreadable)?;
        Ok(match &start[..] {
            [b'P', b'K', ..] if is_archive_of_pictures(path)? => Kind::Archive,
            b"\x93NUMPY" | [b'P', b'K', ..] if is_array_of_points(path) => Kind::Points,
            b"\x93NUMPY" | [b'P', b'K', ..] => Kind::Array,
            b"GIF87a" | b"GIF89a" => Kind::Idx,
            _ if points::is_text(path)? => Kind::Points,
            _ => Kind::Idx,
        })
    }

    /// Returns true if the name is that of a published data set, whose images may also come in another kind.
    pub(super) fn is_published(self) -> bool {
        matches!(self, Kind::Mnist | Kind::Cifar10)
    }

    /// Returns true if a path of this kind holds training and test images.
    pub(super) fn has_splits(self) -> bool {
        matches!(self, Kind::Mnist | Kind::Cifar10)
    }
}

impl Dataset {
    /// The images of a path of any [`Kind`]. Folders of MNIST and CIFAR-10 have both splits; others are all of one.
    ///
    /// # Errors
    /// If the contents are of no such kind, damaged, or not of the wanted shape.
    pub fn at(path: &Path, split: Split, wanted: &Wanted) -> Result<Dataset, DataError> {
        match Kind::of(path)? {
            Kind::Idx => Dataset::from_idx(path, labels_beside(path).as_deref()),
            Kind::Mnist => match mnist(path, split) {
                Some((images, labels)) => Dataset::from_idx(&images, labels.as_deref()),
                None => pictures_in(path, wanted),
            },
            Kind::Cifar10 => cifar::read(path, split),
            Kind::Array => array(path),
            Kind::Folder => pictures_in(path, wanted),
            Kind::Archive => archive(path, wanted),
            Kind::Points => {
                let what =
                    "it holds points of the plane, no images; only a model of points takes them".into();
                Err(DataError::Format { path: path.display().to_string(), what })
            }
        }
    }
}

/// The files of a split of MNIST in a folder, plain or gzip: images, and labels if they are there. Where only one split is, it
/// serves as the other, too.
fn mnist(folder: &Path, split: Split) -> Option<(PathBuf, Option<PathBuf>)> {
    let stems = match split {
        Split::Train => ["train", "t10k"],
        Split::Test => ["t10k", "train"],
    };
    let found = |stem: &str, what: &str| {
        let names = ["", ".gz"].map(|ending| folder.join(format!("{stem}-{what}-ubyte{ending}")));
        names.into_iter().find(|path| path.is_file())
    };
    stems.into_iter().find_map(|stem| Some((found(stem, "images-idx3")?, found(stem, "labels-idx1"))))
}

/// The labels beside a file of images, by MNIST's names.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let labels = images.with_file_name(name.replace("images-idx3", "labels-idx1"));
    (labels != images && labels.is_file()).then_some(labels)
}

#[cfg(feature = "images")]
fn pictures_in(folder: &Path, wanted: &Wanted) -> Result<Dataset, DataError> {
    super::collection::open(folder)?.load(wanted)
}

#[cfg(feature = "images")]
fn archive(path: &Path, wanted: &Wanted) -> Result<Dataset, DataError> {
    super::collection::open(path)?.load(wanted)
}

#[cfg(feature = "images")]
use super::collection::is_archive_of_pictures;

/// Returns true if an array of numpy holds points.
#[cfg(feature = "images")]
fn is_array_of_points(path: &Path) -> bool {
    super::array::shape(path).is_some_and(|shape| matches!(shape[..], [_, 2] | [_, 1, 1, 2]))
}

/// Images in an array, [n, h, w, c]; values in [0, 1] become the nearest of 256 levels.
#[cfg(feature = "images")]
fn array(path: &Path) -> Result<Dataset, DataError> {
    let wrong = |what: String| DataError::Format { path: path.display().to_string(), what };
    let super::Array { shape, numbers, labels, left_out } = super::Array::read(path)?;
    let shape = match shape[..] {
        [n, h, w, c] => [n, h, w, c],
        [n, h, w] => [n, h, w, 1],
        _ => return Err(wrong(format!("its shape {shape:?} is not [n, h, w, c]"))),
    };
    let levels = match numbers {
        super::Numbers::Levels(levels) => levels,
        values => {
            let values = values.images();
            if let Some(value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
                return Err(wrong(format!(
                    "it holds {value}; images are levels (uint8), or floats in [0, 1]"
                )));
            }
            values.iter().map(|value| (255.0 * value).round() as u8).collect()
        }
    };
    let skipped = left_out.into_iter().map(|name| format!("{name} (an array without images)")).collect();
    let labels = labels.map(|(_, labels)| labels);
    Ok(Dataset { skipped, ..Dataset::from_levels(levels, shape, labels)? })
}

#[cfg(not(feature = "images"))]
mod without_images {
    use super::*;

    fn refused(path: &Path) -> DataError {
        let what = "this program is built without the feature `images`".into();
        DataError::Format { path: path.display().to_string(), what }
    }

    pub(super) fn pictures_in(folder: &Path, _: &Wanted) -> Result<Dataset, DataError> {
        Err(refused(folder))
    }

    pub(super) fn archive(path: &Path, _: &Wanted) -> Result<Dataset, DataError> {
        Err(refused(path))
    }

    pub(super) fn array(path: &Path) -> Result<Dataset, DataError> {
        Err(refused(path))
    }

    pub(super) fn is_archive_of_pictures(_: &Path) -> Result<bool, DataError> {
        Ok(false)
    }

    pub(super) fn is_array_of_points(_: &Path) -> bool {
        false
    }
}
#[cfg(not(feature = "images"))]
use without_images::{archive, array, is_archive_of_pictures, is_array_of_points, pictures_in};

#[cfg(all(test, feature = "images"))]
mod tests {
    use super::*;
    use image::{DynamicImage, Rgb, RgbImage};
    use std::io::{Cursor, Write};

    const WANTED: Wanted = Wanted { shape: Some([4, 4, 3]), crop: 0, fit: Fit::Crop, skip_bad: false };

    /// A picture whose left half is red and whose right half is blue.
    fn halves(width: u32, height: u32) -> Vec<u8> {
        let colour = |x| if x < width / 2 { Rgb([200, 0, 0]) } else { Rgb([0, 0, 100]) };
        let picture = DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, |x, _| colour(x)));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn folder_of(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn pixel(set: &Dataset, image: usize, x: usize, y: usize) -> [u8; 3] {
        let at = 3 * (y * set.size.width + x);
        set.image(image)[at..at + 3].try_into().unwrap()
    }

    #[test]
    fn folders_are_classes_and_every_size_becomes_the_wanted_one() {
        let [small, wide, tall] = [halves(4, 4), halves(16, 8), halves(8, 32)];
        let folder = folder_of(&[
            ("cat/b.png", &wide),
            ("cat/a.PNG", &small),
            ("ant/deep/c.png", &tall),
            ("cat/notes.txt", b"x"),
            ("cat/._a.png", b"x"),
            (".previews/a.png", b"x"),
        ]);
        assert_eq!(Kind::of(folder.path()).unwrap(), Kind::Folder);
        let set = Dataset::at(folder.path(), Split::Train, &WANTED).unwrap();
        assert_eq!((set.len(), set.shape()), (3, [4, 4, 3]));
        assert_eq!(set.labels, Some(vec![0, 1, 1]));
        assert_eq!(set.skipped, ["cat/notes.txt (no picture)"]);
        for image in 0..3 {
            let [left, right] = [0, 3].map(|x| pixel(&set, image, x, 2));
            assert!(left[0].abs_diff(200) < 8 && right[2].abs_diff(100) < 8, "{image}: {left:?} {right:?}");
        }
        // Padded, the wide picture has black bars; stretched, none.
        let fitted = |fit| Dataset::at(folder.path(), Split::Train, &Wanted { fit, ..WANTED }).unwrap();
        assert_eq!(pixel(&fitted(Fit::Pad), 2, 1, 0), [0, 0, 0]);
        assert!(pixel(&fitted(Fit::Stretch), 2, 1, 0)[0] > 150);
        // A square in the middle of the wide picture is half red.
        let cropped = Dataset::at(folder.path(), Split::Train, &Wanted { crop: 2, ..WANTED }).unwrap();
        assert!(pixel(&cropped, 2, 0, 0)[0] > 150 && pixel(&cropped, 2, 3, 3)[2] > 75);
    }

    #[test]
    fn pictures_at_the_top_have_no_classes_and_bad_ones_are_named_or_left_out() {
        let good = halves(4, 4);
        let folder = folder_of(&[("a.png", &good), ("b.png", &good[..40]), ("cat/c.png", &good)]);
        let message = Dataset::at(folder.path(), Split::Train, &WANTED).unwrap_err().to_string();
        assert!(message.contains("1 of its 3 pictures") && message.contains("b.png"), "{message}");
        let set = Dataset::at(folder.path(), Split::Train, &Wanted { skip_bad: true, ..WANTED }).unwrap();
        assert_eq!((set.len(), set.labels.is_none(), set.skipped.len()), (2, true, 1));
        let empty = folder_of(&[("a.txt", b"x")]);
        let message = Dataset::at(empty.path(), Split::Train, &WANTED).unwrap_err().to_string();
        assert!(message.contains("it holds no picture"), "{message}");
    }

    #[test]
    fn pictures_that_are_not_kept_in_memory_give_the_same_images() {
        let pictures = [halves(4, 4), halves(16, 8), halves(8, 32)];
        let mut damaged = halves(9, 9);
        let end = damaged.len() - 20;
        damaged[end] ^= 1;
        let folder = folder_of(&[
            ("ant/c.png", &pictures[0]),
            ("bee/a.png", &pictures[1]),
            ("bee/b.png", &damaged),
            ("bee/c.png", &pictures[2]),
            ("bee/d.txt", b"x"),
        ]);
        let config = |cache, skip_bad| Data {
            dataset: "folder".into(),
            path: Some(folder.path().into()),
            image_size: 4.into(),
            num_channels: 3,
            cache,
            skip_bad,
            ..Data::default()
        };
        let [kept, stream] =
            [true, false].map(|cache| crate::data::open(&config(cache, true), Split::Train).unwrap());
        assert_eq!((kept.len(), stream.len()), (3, 4));
        // A picture whose header is whole is known to be damaged when it is used; the next takes its place.
        assert_eq!(stream.skipped(), ["bee/d.txt (no picture)"]);
        for (own, other) in [(0, 0), (1, 1), (2, 2), (3, 2)] {
            assert_eq!(stream.image(own).unwrap(), kept.image(other).unwrap());
        }
        assert_eq!([0, 1, 2, 3].map(|i| stream.label(i)), [0, 1, 1, 1].map(Some));
        assert!(stream.skipped()[1].starts_with("bee/b.png ("), "{:?}", stream.skipped());
        assert!(crate::data::open(&config(true, false), Split::Train).is_err());
        let strict = crate::data::open(&config(false, false), Split::Train).unwrap();
        assert!(strict.image(1).is_ok() && strict.image(2).unwrap_err().to_string().contains("bee/b.png"));
    }

    #[test]
    fn an_archive_has_the_labels_of_its_json_or_of_its_folders() {
        let good = halves(4, 4);
        let json = br#"{"labels": [["00000/b.png", 7], ["00000/a.png", 3]]}"#;
        let both = [("00000/a.png", &good[..]), ("00000/b.png", &good[..]), ("dataset.json", &json[..])];
        let folder = folder_of(&[("a.zip", &zip_of(&both)), ("b.zip", &zip_of(&both[..2]))]);
        for (name, labels) in [("a.zip", vec![3, 7]), ("b.zip", vec![0, 0])] {
            let path = folder.path().join(name);
            assert_eq!(Kind::of(&path).unwrap(), Kind::Archive);
            assert_eq!(Dataset::at(&path, Split::Train, &WANTED).unwrap().labels, Some(labels));
        }
        let around = folder_of(&[("a.zip", &[&zip_of(&both)[..], b"more"].concat())]);
        let message =
            Dataset::at(&around.path().join("a.zip"), Split::Train, &WANTED).unwrap_err().to_string();
        assert!(message.contains("other bytes stand before or after it"), "{message}");
        let partial =
            folder_of(&[("a.zip", &zip_of(&[both[0], both[1], ("dataset.json", br#"{"labels": []}"#)]))]);
        let message =
            Dataset::at(&partial.path().join("a.zip"), Split::Train, &WANTED).unwrap_err().to_string();
        assert!(message.contains("no label for 00000/a.png"), "{message}");
    }

    #[test]
    fn cifar_and_mnist_are_known_by_their_files_and_have_two_splits() {
        // A label and three planes: 1 in red, 2 in green, 3 in blue.
        let record: Vec<u8> =
            std::iter::once(9).chain([1u8, 2, 3].into_iter().flat_map(|v| [v; 1024])).collect();
        let cifar = folder_of(&[("data_batch_1.bin", &record.repeat(2)), ("test_batch.bin", &record)]);
        assert_eq!(Kind::of(cifar.path()).unwrap(), Kind::Cifar10);
        for (split, n) in [(Split::Train, 2), (Split::Test, 1)] {
            let set = Dataset::at(cifar.path(), split, &WANTED).unwrap();
            assert_eq!((set.len(), set.size.width, set.labels.clone()), (n, 32, Some(vec![9; n])));
            assert_eq!(pixel(&set, 0, 5, 5), [1, 2, 3]);
        }
        let python = folder_of(&[("data_batch_1", b"x")]);
        assert!(Kind::of(python.path()).unwrap_err().to_string().contains("binary version"));
        let broken = folder_of(&[("data_batch_1.bin", &record[..3000])]);
        assert!(Dataset::at(broken.path(), Split::Train, &WANTED).unwrap_err().to_string().contains("3073"));

        let images = [&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2][..], &[1, 2, 3, 4]].concat();
        let labels = [0, 0, 8, 1, 0, 0, 0, 1, 5];
        let mnist = folder_of(&[("t10k-images-idx3-ubyte", &images), ("t10k-labels-idx1-ubyte", &labels)]);
        assert_eq!(Kind::of(mnist.path()).unwrap(), Kind::Mnist);
        for path in [mnist.path().to_path_buf(), mnist.path().join("t10k-images-idx3-ubyte")] {
            let set = Dataset::at(&path, Split::Train, &WANTED).unwrap();
            assert_eq!((set.pixels, set.labels), (vec![1, 2, 3, 4], Some(vec![5])));
        }
    }
}
