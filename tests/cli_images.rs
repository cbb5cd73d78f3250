//! Images in files of every kind, from the command line.

use crate::cli::{checkpoint, folder, refuse, stderr, succeed, train, trained, tweedie};
use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use std::path::Path;

/// An IDX file of images of 8x8 with these channels.
fn idx(path: &Path, n: u8, channels: u8) {
    let header = [0, 0, 8, 4].into_iter().chain([n, 8, 8, channels].into_iter().flat_map(|d| [0, 0, 0, d]));
    let levels = (0..usize::from(n) * 64 * usize::from(channels)).map(|i| (i * 37 % 256) as u8);
    std::fs::write(path, header.chain(levels).collect::<Vec<u8>>()).expect("a file");
}

/// A model of images with these channels.
fn model(folder: &Path, channels: u8) -> std::path::PathBuf {
    let (data, run) = (folder.join("idx4-ubyte"), folder.join("run"));
    idx(&data, 4, channels);
    let set = [
        "data.dataset=idx".to_string(),
        format!("data.images={}", data.display()),
        format!("data.num_channels={channels}"),
        "training.batch_size=2".into(),
    ];
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    succeed(train(&run, &set).args(["--steps", "1"]));
    run
}

#[test]
fn transparency_is_written_and_read_again() {
    let folder = folder();
    let run = model(folder.path(), 4);
    let at = |name: &str| folder.path().join(name);
    let mut sample = tweedie();
    sample.args(["sample", "-n", "3", "--out"]).arg(at("grid.png")).arg("--out").arg(at("pictures"));
    succeed(sample.arg("--out").arg(at("samples.npz")).arg("--").arg(&run));
    for name in ["grid.png", "pictures/00002.png"] {
        let picture = image::open(at(name)).expect("a picture");
        assert!(matches!(picture, DynamicImage::ImageRgba8(_)), "{name}");
    }
    let mut inpaint = tweedie();
    inpaint.arg("inpaint").arg(&run).args(["--mask", "left", "--in"]).arg(at("pictures"));
    succeed(inpaint.arg("--out").arg(at("again")));
    let [old, new] = ["pictures", "again"]
        .map(|name| image::open(at(name).join("00001.png")).expect("a picture").into_rgba8());
    assert!((0..8).all(|y| (0..4).all(|x| old.get_pixel(x, y) == new.get_pixel(x, y))));
    assert_ne!(old, new);
    // An opaque picture is one whose fourth channel is 1.
    RgbImage::from_pixel(8, 8, image::Rgb([9, 200, 7])).save(at("opaque.png")).expect("a picture");
    let mut opaque = tweedie();
    opaque.arg("inpaint").arg(&run).args(["--mask", "left", "--in"]).arg(at("opaque.png"));
    succeed(opaque.arg("--out").arg(at("kept.png")));
    let kept = image::open(at("kept.png")).expect("a picture").into_rgba8();
    assert!(kept.pixels().any(|pixel| pixel.0 == [9, 200, 7, 255]));
}

#[test]
fn images_that_are_no_pictures_are_written_as_arrays_only() {
    for channels in [2, 5] {
        let folder = folder();
        let run = model(folder.path(), channels);
        let at = |name: &str| folder.path().join(name);
        for (option, out) in [("--out", "a.png"), ("--out", "a/"), ("--animate", "a.gif")] {
            let mut sample = tweedie();
            sample.arg("sample").arg(&run).args(["-n", "1", "--out"]).arg(at("samples.npz"));
            let message = refuse(sample.arg(option).arg(at(out)));
            assert!(message.contains("no pictures") && message.contains(".npz"), "{message}");
            assert!(!at("samples.npz").exists());
        }
        let mut sample = tweedie();
        succeed(sample.arg("sample").arg(&run).args(["-n", "2", "--out"]).arg(at("samples.npz")));
    }
}

#[test]
fn a_folder_s_pictures_of_all_kinds_are_read_and_its_other_files_named() {
    let folder = folder();
    let pictures = folder.path().join("pictures");
    std::fs::create_dir(&pictures).expect("a folder");
    for (i, name) in ["1.png", "2.JPG", "3.jpeg", "4.bmp", "5.gif", "6.webp"].into_iter().enumerate() {
        let picture = image::GrayImage::from_pixel(8, 8, image::Luma([40 * i as u8]));
        let kind = ImageFormat::from_path(name).expect("a kind");
        let picture = DynamicImage::ImageLuma8(picture);
        let coloured = matches!(kind, ImageFormat::WebP | ImageFormat::Gif);
        let picture = if coloured { picture.into_rgba8().into() } else { picture };
        picture.save_with_format(pictures.join(name), kind).expect("a picture");
    }
    std::fs::write(pictures.join("._1.png"), "of a Mac").expect("a file");
    std::fs::write(pictures.join("notes.txt"), "no picture").expect("a file");
    let mut encode = tweedie();
    encode
        .arg("encode")
        .arg(trained())
        .arg("--in")
        .arg(&pictures)
        .args(["--rtol", "1", "--atol", "1", "--out"]);
    let said = stderr(encode.arg(folder.path().join("z.safetensors")));
    assert!(said.contains("left out") && said.contains("notes.txt") && !said.contains("._1"), "{said}");
    let bytes = std::fs::read(folder.path().join("z.safetensors")).expect("a file");
    let latents = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
    assert_eq!(latents.tensor("z").expect("latents").shape(), [6, 1, 8, 8]);
    // Transparent pictures fit no grey model.
    RgbaImage::new(8, 8).save(pictures.join("7.png")).expect("a picture");
    let mut encode = tweedie();
    encode.arg("encode").arg(trained()).arg("--in").arg(pictures.join("7.png")).arg("--out");
    let message = refuse(encode.arg(folder.path().join("y.safetensors")));
    assert!(message.contains("7.png is partly transparent"), "{message}");
}

#[test]
fn a_file_without_an_end_is_refused() {
    if !cfg!(unix) {
        return;
    }
    let folder = folder();
    let out = folder.path().join("out.png");
    let link = |name: &str| {
        let link = folder.path().join(name);
        #[cfg(unix)]
        std::os::unix::fs::symlink("/dev/zero", &link).expect("a link");
        link
    };
    let (model, array, picture, table) =
        (link("a.safetensors"), link("a.npz"), link("a.png"), link("a.toml"));
    let run = checkpoint(trained(), 20);
    let commands = [
        vec!["sample".as_ref(), model.as_os_str(), "-n".as_ref(), "1".as_ref()],
        vec!["encode".as_ref(), run.as_os_str(), "--in".as_ref(), array.as_os_str()],
        vec!["encode".as_ref(), run.as_os_str(), "--in".as_ref(), picture.as_os_str()],
        vec!["train".as_ref(), table.as_os_str()],
    ];
    for arguments in commands {
        let encode = arguments[0] == "encode";
        let out = if encode { out.with_extension("safetensors") } else { out.with_extension("") };
        let message = refuse(tweedie().args(&arguments).arg("--out").arg(out));
        assert!(message.contains("device"), "{arguments:?}: {message}");
    }
}
