//! Controlled generation from the command line: partly known images, pictures of the reverse process, and
//! invalid input.

use crate::cli::{folder, refuse, succeed, train, trained, tweedie, write_array};
use image::{GrayImage, Luma, RgbImage};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tweedie::data::{Dataset, Split};

/// `samples` of a file: its shape and values.
pub fn samples(path: &Path) -> (Vec<u64>, Vec<f32>) {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).expect("a file")).expect("an archive");
    let array = npyz::NpyFile::new(archive.by_name("samples.npy").expect("samples")).expect("an array");
    (array.shape().to_vec(), array.into_vec::<f32>().expect("float32"))
}

/// Test digit number `index`, in [0, 1].
fn digit(index: usize) -> Vec<f32> {
    let set = Dataset::digits(Split::Test).expect("digits");
    set.image(index).iter().map(|level| (f64::from(*level) / 255.0) as f32).collect()
}

/// Runs of other processes and of colour images, each trained for two steps.
fn other(name: &'static str, set: &[&str]) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let run = FOLDER.get_or_init(folder).path().join(name);
    if !run.exists() {
        succeed(train(&run, set).args(["--steps", "2"]));
    }
    run
}

fn command(name: &str, model: &Path, args: &[&str], out: &Path) -> Command {
    let mut command = tweedie();
    command.arg(name).arg(model).args(args).arg("--out").arg(out);
    command
}

#[test]
fn the_known_part_of_a_digit_is_kept_exactly_for_every_process_and_the_rest_varies() {
    let folder = folder();
    let centred = ["training.sde=vpsde", "data.centered=true", "model.scale_by_sigma=false"];
    let sub = ["training.sde=subvpsde", "data.centered=true", "model.scale_by_sigma=false"];
    let models =
        [("ve", trained().to_path_buf()), ("vp", other("vp", &centred)), ("subvp", other("subvp", &sub))];
    let original = digit(3);
    for (name, model) in models {
        let out = folder.path().join(format!("{name}.npz"));
        let pictures = folder.path().join(name);
        let args = ["--in", "data:digits:3", "--mask", "left", "-n", "3", "--steps", "25"];
        succeed(command("inpaint", &model, &args, &out).arg("--out").arg(&pictures));
        let (shape, values) = samples(&out);
        assert_eq!(shape, [3, 8, 8, 1]);
        for (i, v) in values.iter().enumerate() {
            assert!(i % 8 >= 4 || v.to_bits() == original[i % 64].to_bits(), "{name}: element {i} is {v}");
        }
        assert!(values[..64] != values[64..128], "{name}: the completions are alike");
        let picture = image::open(pictures.join("00002.png")).expect("a picture").into_luma8();
        for (x, y, Luma([level])) in picture.enumerate_pixels().filter(|(x, _, _)| *x < 4) {
            assert_eq!(f32::from(*level), 255.0 * original[(8 * y + x) as usize], "{name} {x} {y}");
        }
    }
}

#[test]
fn a_completion_depends_on_its_number_and_several_images_get_one_each() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let complete = |input: &str, args: &[&str], name: &str| {
        let given = [&["--in", input, "--mask", "top"], args].concat();
        succeed(&mut command("inpaint", trained(), &given, &at(name)));
        samples(&at(name)).1
    };
    let four = complete("data:digits:5", &["-n", "4"], "four.npz");
    assert!(four == complete("data:digits:5", &["-n", "4", "--batch", "3"], "batches.npz"));
    assert_eq!(four[128..], complete("data:digits:5", &["-n", "2", "--first", "2"], "tail.npz"));
    // Two completions of each of several images: those of the first image are the same as alone.
    let (one, two) = (&["-n", "2"], complete("data:digits:5-6", &["-n", "2"], "two.npz"));
    assert_eq!(two.len(), 4 * 64);
    assert_eq!(two[..128], complete("data:digits:5", one, "one.npz"));
    // The completions as inputs: each keeps its own upper half.
    let several = complete(at("four.npz").to_str().expect("a path"), &[], "several.npz");
    assert_eq!(several.len(), 4 * 64);
    for (a, b) in several.chunks(64).zip(four.chunks(64)) {
        assert_eq!(a[..32], b[..32]);
    }
}

#[test]
fn annealed_langevin_dynamics_completes_too() {
    let folder = folder();
    let out = folder.path().join("x.npz");
    let known = ["--in", "data:digits:5", "--mask", "top", "--sampler"];
    let annealed = [&known[..], &["ald", "--steps", "6", "--corrector-steps", "3", "--json"]].concat();
    let report = succeed(&mut command("inpaint", trained(), &annealed, &out));
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    // Three steps at six levels, and one that removes the noise.
    assert_eq!(report["evaluations"].as_f64(), Some(19.0));
    let (values, original) = (samples(&out).1, digit(5));
    assert!(values[..32] == original[..32] && values[32..] != original[32..]);
    let message = refuse(&mut command("inpaint", trained(), &[&known[..], &["ode"]].concat(), &out));
    assert!(message.contains("--sampler ode: it must be pc, ald"), "{message}");
}

#[test]
fn the_white_pixels_of_a_mask_are_known() {
    let folder = folder();
    let (mask, out) = (folder.path().join("mask.PNG"), folder.path().join("out.npz"));
    // One known pixel.
    GrayImage::from_fn(8, 8, |x, y| Luma([255 * u8::from((x, y) == (5, 2))])).save(&mask).expect("a mask");
    let mask = mask.to_str().expect("a path");
    succeed(&mut command("inpaint", trained(), &["--in", "data:digits:7", "--mask", mask], &out));
    let ((_, values), original) = (samples(&out), digit(7));
    assert_eq!(values[8 * 2 + 5], original[8 * 2 + 5]);
    assert!((0..64).filter(|i| values[*i] != original[*i]).count() > 20);
}

/// Models of colour images, of every process.
fn colour() -> [PathBuf; 3] {
    let set = ["data.dataset=digits_color", "data.num_channels=3"];
    // Little noise keeps the samples of an untrained model near its range.
    let centred = ["data.centered=true", "model.scale_by_sigma=false", "model.beta_max=0.2"];
    let of = |name, more: &[&str]| other(name, &[&set[..], more].concat());
    [
        of("colour-ve", &["model.sigma_max=0.1"]),
        of("colour-vp", &[&centred[..], &["training.sde=vpsde"]].concat()),
        of("colour-subvp", &[&centred[..], &["training.sde=subvpsde"]].concat()),
    ]
}

#[test]
fn colours_are_drawn_and_the_grey_is_kept() {
    let folder = folder();
    let (grey, out) = (folder.path().join("grey.png"), folder.path().join("out.npz"));
    let level = |x: u32, y: u32| (100 + 5 * x + 3 * y) as u8;
    GrayImage::from_fn(8, 8, |x, y| Luma([level(x, y)])).save(&grey).expect("a picture");
    let grey = grey.to_str().expect("a path");
    let models = colour();
    for model in &models {
        // With few steps, the last step of another predictor would be too long for VP and sub-VP.
        let steps = ["--predictor", "ancestral_sampling", "--corrector", "none", "--steps", "100"];
        succeed(&mut command("colorize", model, &[&["--in", grey, "-n", "2"], &steps[..]].concat(), &out));
        let (shape, values) = samples(&out);
        assert_eq!(shape, [2, 8, 8, 3]);
        assert!(values[..192] != values[192..]);
        for (i, pixel) in values.chunks(3).enumerate() {
            let expected = f32::from(level(i as u32 % 8, i as u32 / 8 % 8)) / 255.0;
            let mean = pixel.iter().sum::<f32>() / 3.0;
            assert!((mean - expected).abs() < 1e-5, "pixel {i}: {mean}, not {expected}");
            assert!(pixel.iter().all(|v| (0.0..=1.0).contains(v)), "pixel {i}: {pixel:?}");
        }
        // An untrained model's colours reach the bounds of the range and are still colours.
        let coloured = values.chunks(3).filter(|pixel| pixel.iter().any(|v| (v - pixel[0]).abs() > 0.01));
        assert!(coloured.count() > 100, "{}", model.display());
    }
    // One row per image, which begins with its grey; the grey of a colour image is the mean of its channels.
    let rows = folder.path().join("rows.png");
    let several = ["--in", "data:digits_color:0-1", "-n", "3", "--show-grey"];
    succeed(&mut command("colorize", &models[0], &several, &rows));
    let picture = image::open(&rows).expect("a picture").into_rgb8();
    assert_eq!(picture.dimensions(), (4 * 66 + 2, 2 * 66 + 2));
    let set = Dataset::digits_color(Split::Test).expect("digits");
    for (x, y) in (0..8).flat_map(|x| (0..8).map(move |y| (x, y))) {
        let pixel = &set.image(1)[3 * (8 * y + x)..][..3];
        let mean = pixel.iter().map(|v| f32::from(*v)).sum::<f32>() / 3.0;
        let shown = picture.get_pixel(8 * x as u32 + 2, 68 + 8 * y as u32).0;
        assert!(shown.iter().all(|v| *v == shown[0] && (f32::from(*v) - mean).abs() <= 0.51), "{shown:?}");
    }
    let message = refuse(&mut command("colorize", &models[0], &["--in", grey, "--show-grey"], &out));
    assert!(message.contains("--show-input: no grid is written"), "{message}");
    let message = refuse(&mut command("colorize", trained(), &["--in", grey], &out));
    assert!(message.contains("makes images of 1 channel; colorize needs a model of 3"), "{message}");
}

#[test]
fn invalid_images_and_masks_are_refused_and_nothing_is_written() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_string();
    let grey = |name: &str, size: u32, level: u8| {
        GrayImage::from_pixel(size, size, Luma([level])).save(at(name)).expect("a picture");
        at(name)
    };
    let (white, black, half) = (grey("w.png", 8, 255), grey("b.png", 8, 0), grey("h.png", 8, 128));
    let large = grey("l.png", 9, 255);
    RgbImage::from_fn(8, 8, |x, _| image::Rgb([x as u8, 0, 0])).save(at("c.png")).expect("a picture");
    let (colour, out) = (at("c.png"), folder.path().join("out/x.npz"));
    for (args, expected) in [
        (vec!["--in", &large, "--mask", "left"], "is 9x9, the model's images are 8x8"),
        (vec!["--in", &colour, "--mask", "left"], "is in colour, and the model needs grey images"),
        (vec!["--in", "none.png", "--mask", "left"], "none.png does not exist"),
        (vec!["--in", "Cargo.toml", "--mask", "left"], "images are read from .png, a folder"),
        (vec!["--in", "data:digits:360", "--mask", "left"], "write data:digits:I with I from 0 to 359"),
        (vec!["--in", "data:digits_color:900", "--mask", "left"], "write data:digits_color:I with I from 0"),
        (vec!["--in", "data:faces:0", "--mask", "left"], "write data:digits:I"),
        (vec!["--in", "data:digits:3-2", "--mask", "left"], "or I-J for several"),
        (vec!["--in", &half, "--mask", &white], "is white everywhere; make the part to draw black"),
        (vec!["--in", &half, "--mask", &black], "is black everywhere; make the observed part white"),
        (vec!["--in", &half, "--mask", &half], "has pixels that are neither black nor white"),
        (vec!["--in", &half, "--mask", &large], "is 9x9, the model's images are 8x8"),
        (vec!["--in", &half, "--mask", "middle"], "middle is not a mask"),
        (
            vec!["--in", &half, "--mask", "left", "-n", "0"],
            "-n 0: it must be a whole number from 1 to 4294967295",
        ),
        (vec!["--in", &half, "--mask", "left", "--show", "both"], "--show needs --animate or --trajectory"),
        (
            vec!["--in", "data:digits:0-99", "--mask", "left", "--first", "4294967290", "--batch", "1"],
            "--first 4294967290: with -n 100 sample numbers exceed 4294967295",
        ),
    ] {
        let message = refuse(&mut command("inpaint", trained(), &args, &out));
        assert!(message.contains(expected), "{args:?}: {message}");
        assert!(!folder.path().join("out").exists(), "{args:?} left something behind");
    }
    // An input is never overwritten, however its path is spelt.
    let before = std::fs::read(&half).expect("a picture");
    for (input, mask, out) in [
        (&half, "left", folder.path().join("./h.png")),
        (&half, &white[..], folder.path().join("w.png")),
        (&half, "left", folder.path().to_path_buf()),
    ] {
        let message = refuse(&mut command("inpaint", trained(), &["--in", input, "--mask", mask], &out));
        assert!(message.contains("is an input; choose a different output path"), "{message}");
    }
    assert!(std::fs::read(&half).expect("a picture") == before);
    // A mask that is a side is not a file, so an output may have its name.
    let problem = problem(folder.path(), "kind = \"mask\"\nmask = \"left\"\nnoise_std = 0.05");
    let args = ["--problem", &problem, "--in", "data:digits:4", "--simulate", "--particles", "1"];
    for _ in 0..2 {
        let mut beside = command("restore", trained(), &args, Path::new("left"));
        succeed(beside.current_dir(folder.path()));
    }
    // Samples may be written next to the model, and overwritten.
    let beside = trained().join("beside.png");
    for _ in 0..2 {
        succeed(&mut command("sample", trained(), &["-n", "1"], &beside));
    }
}

#[test]
fn a_strip_has_a_row_for_each_sample_and_shows_the_state_the_denoised_or_both() {
    let folder = folder();
    let strip = |show: &str| {
        let path = folder.path().join(format!("{show}.png"));
        let (args, out) = (["-n", "3", "--json", "--show", show], folder.path().join("samples.png"));
        let mut command = command("sample", trained(), &args, &out);
        command.arg("--trajectory").arg(&path).arg("--animate").arg(path.with_extension("gif"));
        let report: serde_json::Value = serde_json::from_str(&succeed(&mut command)).expect("JSON");
        // The shown predictions cost evaluations of their own, which are not counted for the sampler.
        assert_eq!(report["evaluations"].as_f64(), Some(10.0));
        assert!(std::fs::read(path.with_extension("gif")).expect("a film").starts_with(b"GIF89a"));
        image::open(path).expect("a picture").into_luma8()
    };
    let (state, denoised, both) = (strip("state"), strip("denoised"), strip("both"));
    // Five steps and the prior; 8 × 8 enlarged eight times, with gaps of two.
    assert_eq!(state.dimensions(), (6 * 66 + 2, 3 * 66 + 2));
    assert_eq!(both.dimensions(), (6 * 66 + 2, 6 * 66 + 2));
    assert!(state != denoised);
    for row in 0..6 {
        let alone = if row % 2 == 0 { &state } else { &denoised };
        for (x, y) in (0..6 * 66 + 2).flat_map(|x| (0..66).map(move |y| (x, y))) {
            assert_eq!(both.get_pixel(x, row * 66 + y), alone.get_pixel(x, row / 2 * 66 + y));
        }
    }
}

#[test]
fn solvers_end_with_the_prediction_at_the_last_level() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let vp = other("vp", &["training.sde=vpsde", "data.centered=true", "model.scale_by_sigma=false"]);
    let args = ["-n", "1", "--sampler", "dpmpp_2m", "--steps", "3", "--show", "denoised"];
    succeed(command("sample", &vp, &args, &at("x.png")).arg("--trajectory").arg(at("strip.png")));
    let [sample, strip] =
        ["x.png", "strip.png"].map(|name| image::open(at(name)).expect("a picture").into_luma8());
    assert_eq!((sample.width(), strip.width()), (66 + 2, 4 * 66 + 2));
    for (x, y, level) in sample.enumerate_pixels() {
        assert_eq!(strip.get_pixel(3 * 66 + x, y), level, "{x} {y}");
    }
}

/// A problem's file.
fn problem(folder: &Path, text: &str) -> String {
    let path = folder.join("problem.toml");
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a path").to_string()
}

/// A problem with an array of rows of 64 numbers.
fn array<T: npyz::AutoSerialize>(path: &Path, values: Vec<T>) -> String {
    let rows = values.len() as u64 / 64;
    array_of(path, values, &[rows, 8, 8, 1], npyz::Order::C)
}

fn array_of<T: npyz::AutoSerialize>(
    path: &Path,
    values: Vec<T>,
    shape: &[u64],
    order: npyz::Order,
) -> String {
    use npyz::WriterBuilder;
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape).order(order);
    let mut writer = options.writer(&mut bytes).begin_nd().expect("a header");
    writer.extend(values).expect("values");
    writer.finish().expect("an array");
    std::fs::write(path, bytes).expect("a file");
    format!("kind = \"matrix\"\nfile = {:?}", path.display())
}

#[test]
fn every_simulated_problem_is_restored_by_both_methods() {
    let folder = folder();
    let (out, y) = (folder.path().join("x.npz"), folder.path().join("y.npz"));
    let rows = (0..3 * 64).map(|i| f64::from(i % 7) / 64.0).collect();
    let of_matrix = array(&folder.path().join("a.npy"), rows);
    for (text, shape) in [
        ("kind = \"super_resolution\"\nfactor = 4", [2, 2, 1]),
        ("kind = \"deblur\"\nsigma = 1.0\nsize = 5", [8, 8, 1]),
        ("kind = \"mask\"\nmask = \"top\"", [8, 8, 1]),
        ("kind = \"random_projection\"\nrows = 9", [1, 1, 9]),
        (&of_matrix, [1, 1, 3]),
    ] {
        let problem = problem(folder.path(), &format!("{text}\nnoise_std = 0.05"));
        let mut restored = Vec::new();
        for (method, evaluations) in [("paper", 10.0), ("pigdm", 40.0)] {
            let args =
                ["--problem", &problem, "--in", "data:digits:4", "--simulate", "--method", method, "--json"];
            let mut command = command("restore", trained(), &args, &out);
            let text = succeed(command.args(["-n", "2", "--measurement"]).arg(&y));
            let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            // No further from the measurement than its noise.
            assert!(
                report["residual"].as_f64().is_some_and(|off| off < 0.0505),
                "{problem} {method}: {text}"
            );
            // Of four particles each.
            assert_eq!(report["evaluations"].as_f64(), Some(evaluations));
            restored.push(samples(&out).1);
        }
        assert!(restored[0] != restored[1] && restored[0][..64] != restored[0][64..]);
        assert_eq!(samples(&y).0[1..], shape.map(|extent| extent as u64), "{text}");
        // The written measurement gives the same restorations, and so do batches of one.
        let given = ["--problem", &problem, "--in", y.to_str().expect("a path"), "-n", "2"];
        succeed(command("restore", trained(), &given, &out).args(["--batch", "1"]));
        assert!(samples(&out).1 == restored[1], "{text}");
    }
}

#[test]
fn a_grey_measurement_may_be_saved_in_colour() {
    let folder = folder();
    let problem = problem(folder.path(), "kind = \"super_resolution\"\nfactor = 4\nnoise_std = 0.05");
    let level = |x: u32, y: u32| (40 + 50 * x + 30 * y) as u8;
    let at = |name: &str| folder.path().join(name);
    GrayImage::from_fn(2, 2, |x, y| Luma([level(x, y)])).save(at("grey.png")).expect("a picture");
    RgbImage::from_fn(2, 2, |x, y| image::Rgb([level(x, y); 3])).save(at("rgb.png")).expect("a picture");
    let restored = |name: &str| {
        let (y, out) = (at(name), at("x.npz"));
        let args = ["--problem", &problem, "--in", y.to_str().expect("a path")];
        succeed(&mut command("restore", trained(), &args, &out));
        samples(&out).1
    };
    assert!(restored("grey.png") == restored("rgb.png"));
}

#[test]
fn ancestral_sampling_restores_unless_another_predictor_is_named() {
    let folder = folder();
    let out = folder.path().join("x.npz");
    let problem = problem(folder.path(), "kind = \"super_resolution\"\nfactor = 4\nnoise_std = 0.05");
    let args = ["--problem", &problem, "--in", "data:digits:4", "--simulate"];
    let restored = |predictor: &[&str]| {
        succeed(command("restore", trained(), &args, &out).args(predictor));
        samples(&out).1
    };
    let usual = restored(&[]);
    assert!(usual == restored(&["--predictor", "ancestral_sampling"]));
    // The model's own.
    assert!(usual != restored(&["--predictor", "reverse_diffusion"]));
}

#[test]
fn invalid_problems_are_refused_and_nothing_is_written() {
    let folder = folder();
    let out = folder.path().join("out/x.npz");
    let matrix = folder.path().join("a.npy");
    std::fs::write(&matrix, b"no array").expect("a file");
    let broken = format!("kind = \"matrix\"\nfile = {:?}", matrix.display());
    let whole = array(&folder.path().join("i.npy"), vec![1i32; 64]);
    let zeros = array(&folder.path().join("z.npy"), vec![0f32; 64]);
    let shaped = |name: &str, shape: &[u64], order: npyz::Order| {
        array_of(&folder.path().join(name), vec![1f32; 320], shape, order)
    };
    let turned = shaped("t.npy", &[8, 8, 1, 5], npyz::Order::C);
    let by_columns = shaped("f.npy", &[5, 8, 8, 1], npyz::Order::Fortran);
    let long = array(&folder.path().join("l.npy"), vec![1e6f32; 64]);
    let claims = folder.path().join("c.npy");
    std::fs::write(&claims, write_array("(4611686018427387905, 8, 8, 1)", &[0.0; 64])).expect("a file");
    let claims = format!("kind = \"matrix\"\nfile = {:?}", claims.display());
    for (text, expected) in [
        (
            "kind = \"super_resolution\"\nfactor = 3",
            ".toml: factor = 3: squares of that side do not make up 8x8",
        ),
        (&claims, "and it holds 64 numbers"),
        (
            "kind = \"deblur\"\nsigma = 1\nsize = 9223372036854775807",
            "size = 9223372036854775807: it must be",
        ),
        ("kind = \"super_resolution\"\nfactor = 4\nnoise_std = -0.1", "noise_std = -0.1"),
        (
            "kind = \"super_resolution\"\nfactor = 4\nnoise = 0.1",
            "noise: unknown key, expected one of factor, kind, noise_std",
        ),
        ("kind = \"deblur\"\nsigma = 1.0\nsize = 9", "a filter of 9 taps"),
        ("kind = \"deblur\"\nkernel = [1.0, -1.9999, 1.0]", "taps that nearly cancel"),
        ("kind = \"mask\"\nmask = \"middle\"", "middle is not a mask"),
        ("kind = \"random_projection\"\nrows = 65", "rows = 65: an image of 64 numbers has at most 64"),
        (&broken, "a.npy: it is no array of numpy"),
        (&whole, "numbers of type <i4, not uint8"),
        (&zeros, "a matrix of zeros measures nothing"),
        (&turned, "has shape [8, 8, 1, 5]; it must be [rows, 8, 8, 1] or [rows, 64]"),
        (&by_columns, "it is stored in Fortran order"),
        (&long, "a row of norm 8.0e6; divide the matrix"),
        ("kind = \"sharpen\"", "kind = sharpen: it must be super_resolution, "),
    ] {
        let problem = problem(folder.path(), text);
        let args = ["--problem", &problem, "--in", "data:digits:4", "--simulate"];
        let message = refuse(&mut command("restore", trained(), &args, &out));
        assert!(message.contains(expected), "{text}: {message}");
    }
    let problem = problem(folder.path(), "kind = \"super_resolution\"\nfactor = 4");
    let args = ["--problem", &problem, "--in", "data:digits:4"];
    let message = refuse(&mut command("restore", trained(), &args, &out));
    assert!(
        message.contains("holds measurements of 8x8x1 numbers, and the operator's have 2x2x1"),
        "{message}"
    );
    for (more, expected) in [
        (&["--particles", "0"][..], "--particles 0"),
        (&["--particles", "1000000000"], "--particles 1000000000: it must be at most 65535"),
        (&["--particles", "3", "--method", "paper"], "particles need --method pigdm and --sampler pc"),
        (&["--particles", "3", "--sampler", "ode"], "particles need --method pigdm and --sampler pc"),
        (&["--particles", "3", "--predictor", "probability_flow"], "a predictor that adds noise"),
    ] {
        let args = [&args[..], &["--simulate"], more].concat();
        let message = refuse(&mut command("restore", trained(), &args, &out));
        assert!(message.contains(expected), "{more:?}: {message}");
    }
    let mut twice = command("restore", trained(), &args, &out);
    let message = refuse(twice.args(["--simulate", "--measurement"]).arg(&out));
    assert!(message.contains("are the same output; choose different paths"), "{message}");
    let directions = self::problem(folder.path(), "kind = \"random_projection\"\nrows = 9");
    let args =
        ["--problem", &directions, "--in", "data:digits:4", "--simulate", "--measurement", "out/Y.PNG"];
    let message = refuse(&mut command("restore", trained(), &args, &out));
    assert!(message.contains("--measurement out/Y.PNG: these measurements are not an image"), "{message}");
    let message =
        refuse(&mut command("restore", trained(), &["--problem", "none.toml", "--in", "y.npz"], &out));
    assert!(message.contains("none.toml cannot be read"), "{message}");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_picture_of_another_size_is_scaled_if_asked_and_rows_begin_with_what_is_known() {
    let folder = folder();
    let (photo, grid) = (folder.path().join("photo.png"), folder.path().join("grid.png"));
    GrayImage::from_fn(40, 20, |x, _| Luma([if x < 20 { 200 } else { 50 }])).save(&photo).expect("a picture");
    let photo = photo.to_string_lossy().into_owned();
    let args = ["--in", &photo, "--mask", "left", "-n", "2", "--show-input"];
    assert!(refuse(&mut command("inpaint", trained(), &args, &grid)).contains("--fit crop"));
    succeed(command("inpaint", trained(), &args, &grid).args(["--fit", "stretch"]));
    let picture = image::open(&grid).expect("a picture").into_luma8();
    assert_eq!(picture.dimensions(), (3 * 66 + 2, 66 + 2));
    // Pixels of 8 x 8: the left half of the input is known, the right half grey; completions keep the left half.
    let pixel = |column: u32, x: u32| picture.get_pixel(column * 66 + 8 * x + 2, 30)[0];
    assert!(pixel(0, 1).abs_diff(200) <= 2 && pixel(0, 6) == 128, "{} {}", pixel(0, 1), pixel(0, 6));
    assert_eq!((pixel(1, 1), pixel(2, 1)), (pixel(0, 1), pixel(0, 1)));
    let problem = ["--problem", "configs/problems/super_resolution_4x.toml", "--in", &photo, "--fit", "crop"];
    let message = refuse(&mut command("restore", trained(), &problem, &grid));
    assert!(message.contains("--simulate"), "{message}");
    let shown = [&problem[..], &["--simulate", "--show-input", "-n", "1"]].concat();
    succeed(&mut command("restore", trained(), &shown, &grid));
    let picture = image::open(&grid).expect("a picture").into_luma8();
    assert_eq!(picture.dimensions(), (2 * 66 + 2, 66 + 2));
}
