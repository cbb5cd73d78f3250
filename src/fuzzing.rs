//! Bodies of fuzz targets in `fuzz/` that need private functions. cargo-fuzz builds them, and so do the tests, which read
//! the kept inputs. A panic is a finding.

use crate::cli::io::{pictures, plot};
use crate::config::Problem;
use crate::data::picture::decode;
use crate::data::{Array, Numbers};
use crate::interop::answered;
use crate::train::Metrics;

/// An array of numpy, `.npy` or `.npz`: it has as many numbers as its shape says.
pub fn array(bytes: &[u8]) {
    if let Ok(array) = Array::from_bytes(bytes) {
        assert_eq!(array.shape.iter().product::<usize>(), array.numbers.clone().doubles().len());
        let levels = matches!(array.numbers, Numbers::Levels(_));
        let images = array.numbers.images();
        assert!(images.iter().all(|v| v.is_finite() && (!levels || (0.0..=1.0).contains(v))));
    }
}

/// A picture: its values are in [0, 1], and as many as its shape says.
pub fn picture(bytes: &[u8]) {
    if let Ok(picture) = decode(bytes).map(pictures::pixels) {
        assert_eq!(picture.shape.len(), picture.values.len());
        assert!(picture.values.iter().all(|v| (0.0..=1.0).contains(v)));
    }
}

/// An inverse problem in TOML: the taps of its filter have the sum 1.
pub fn problem(text: &str) {
    if let Ok(problem) = Problem::from_toml(text) {
        let taps = problem.measure.kernel().expect("a filter, as it was checked");
        let (sum, size) = (taps.iter().sum::<f64>(), taps.iter().map(|tap| tap.abs()).sum::<f64>());
        assert!((sum - 1.0).abs() <= 1e-9 * size, "{taps:?}");
    }
}

/// The rows of `metrics.csv`, as a resumed run reads them and as they are plotted.
pub fn metrics(text: &str) {
    let last = Metrics::last_step_of(text);
    if let Some(kept) = Metrics::kept(text, last / 2) {
        assert!(Metrics::last_step_of(&kept) <= last / 2);
        assert_eq!(Metrics::kept(&kept, last).as_ref(), Some(&kept));
    }
    plot::plotted(&Metrics::rows(text), "run").expect("a plot");
}

/// Answers of the hub, with a line of three dashes between them: nothing is written outside the model's part of the
/// cache, and no message has a character that a terminal would obey.
pub fn hub(bytes: &[u8]) {
    let root = tempfile::tempdir().expect("a folder");
    let own = root.path().join("models--owner--tiny");
    match answered(bytes, root.path()) {
        Ok(folder) => assert!(folder.is_dir() && folder.parent() == Some(&*own.join("snapshots"))),
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
    let entries = std::fs::read_dir(root.path()).expect("a folder");
    assert!(entries.flatten().all(|entry| entry.path() == own));
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
    use std::io::{Cursor, Write};
    use std::path::{Path, PathBuf};

    fn corpus(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
    }

    /// Runs a target on a file; a text must be UTF-8, as for libFuzzer.
    fn fuzz(target: &str, bytes: &[u8]) {
        let text = |run: fn(&str)| std::str::from_utf8(bytes).map_or((), run);
        match target {
            "array" => array(bytes),
            "picture" => picture(bytes),
            "problem" => text(problem),
            "metrics" => text(metrics),
            "hub" => hub(bytes),
            other => panic!("no target {other}"),
        }
    }

    #[test]
    fn the_kept_corpus_does_no_harm() {
        for target in ["array", "picture", "problem", "metrics", "hub"] {
            let files = std::fs::read_dir(corpus(target)).expect(target).flatten();
            let count = files.map(|file| fuzz(target, &std::fs::read(file.path()).expect("a file"))).count();
            assert!(count >= 3, "{target}: {count}");
        }
    }

    #[test]
    fn the_good_files_of_the_corpus_are_read() {
        let read = |target: &str, name: &str| std::fs::read(corpus(target).join(name)).expect(name);
        for name in ["levels.npy", "samples.npz"] {
            Array::from_bytes(&read("array", name)).expect(name);
        }
        for name in ["colour.png", "grey.png", "colour.jpg", "colour.gif", "colour.webp", "colour.bmp"] {
            decode(&read("picture", name)).expect(name);
        }
        let text = |target: &str, name: &str| String::from_utf8(read(target, name)).expect(name);
        for name in ["deblur", "matrix", "projection"] {
            Problem::from_toml(&text("problem", name)).expect(name);
        }
        assert_eq!(Metrics::last_step_of(&text("metrics", "run")), 300);
        assert!(plot::plotted(&Metrics::rows(&text("metrics", "run")), "run").expect("a plot").is_some());
    }

    #[test]
    #[ignore = "writes the arrays and pictures that fuzzing begins with"]
    fn seeds() {
        let write = |target: &str, name: &str, bytes: &[u8]| {
            std::fs::create_dir_all(corpus(target)).expect("a folder");
            std::fs::write(corpus(target).join(name), bytes).expect("a file");
        };
        let npy = |kind: &str, data: &[u8]| {
            let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (2, 2, 2, 1), }}");
            [&b"\x93NUMPY\x01\x00\x76\x00"[..], format!("{header:<117}\n").as_bytes(), data].concat()
        };
        write("array", "levels.npy", &npy("|u1", &[7; 8]));
        write("array", "half.npy", &npy("<f2", &half::f16::ONE.to_le_bytes().repeat(8)));
        let single = npy("<f4", &0.5f32.to_le_bytes().repeat(8));
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, method) in [("samples", "Stored"), ("labels", "Deflated")] {
            let method = match method {
                "Stored" => zip::CompressionMethod::Stored,
                _ => zip::CompressionMethod::Deflated,
            };
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            archive.start_file(format!("{name}.npy"), options).expect("an entry");
            archive.write_all(if name == "samples" { &single } else { b"no array" }).expect("bytes");
        }
        write("array", "samples.npz", &archive.finish().expect("an archive").into_inner());
        let pixel = |x: u32, y: u32| Rgb([(30 * x) as u8, (30 * y) as u8, 128]);
        let colour = DynamicImage::from(RgbImage::from_fn(8, 8, pixel));
        let encode = |picture: &DynamicImage, format: ImageFormat| {
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format).expect("a picture");
            bytes.into_inner()
        };
        for (name, picture, format) in [
            ("colour.png", colour.clone(), ImageFormat::Png),
            ("grey.png", colour.to_luma16().into(), ImageFormat::Png),
            ("alpha.png", colour.to_rgba8().into(), ImageFormat::Png),
            ("colour.jpg", colour.clone(), ImageFormat::Jpeg),
            ("colour.gif", colour.to_rgba8().into(), ImageFormat::Gif),
            ("colour.webp", colour.clone(), ImageFormat::WebP),
            ("colour.bmp", colour.clone(), ImageFormat::Bmp),
        ] {
            write("picture", name, &encode(&picture, format));
        }
    }
}
