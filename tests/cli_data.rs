//! Data of one's own from the command line: surveys, configurations for them, training, and the help of keys.

use crate::cli::{folder, refuse, succeed, tweedie, write_array};
use image::{DynamicImage, Rgb, RgbImage};
use serde_json::Value;
use std::path::Path;
use tweedie::config::{Config, ImageSize};

/// Pictures of two classes in several sizes: discs on a background whose colour is the class's.
fn pictures(folder: &Path) {
    for i in 0..24u32 {
        let (class, w, h) = (["ant", "bee"][i as usize % 2], 20 + 3 * i, 40 + i);
        let colour = |x: u32, y: u32| {
            let far = (x.abs_diff(w / 2).pow(2) + y.abs_diff(h / 2).pow(2)) * 9 > w * h;
            let level = (40 + 8 * i) as u8;
            if far { Rgb([level, 90 * (i % 2) as u8, 60]) } else { Rgb([255 - level, 200, level]) }
        };
        let path = folder.join(class).join(format!("{i:02}.png"));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        DynamicImage::ImageRgb8(RgbImage::from_fn(w, h, colour)).save(path).expect("a picture");
    }
}

#[test]
fn a_survey_names_sizes_classes_and_levels_and_draws_a_sheet() {
    let folder = folder();
    pictures(folder.path());
    std::fs::write(folder.path().join("ant/notes.txt"), "x").expect("a file");
    std::fs::write(folder.path().join("bee/broken.png"), "x").expect("a file");
    let sheet = folder.path().join("sheet.png");
    let survey = || {
        let mut command = tweedie();
        command.arg("data").arg(folder.path());
        command
    };
    let report: Value = serde_json::from_str(&succeed(survey().arg("--json"))).expect("JSON");
    assert_eq!((&report["images"], &report["channels"]), (&24.into(), &3.into()));
    assert_eq!(report["classes"], serde_json::json!([["ant", 12], ["bee", 12]]));
    assert_eq!(report["sizes"].as_array().map(Vec::len), Some(24));
    assert_eq!(report["left_out"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["levels"]["shape"], serde_json::json!([32, 32, 3]));
    succeed(survey().args(["--size", "8x16", "-n", "6", "-o"]).arg(&sheet));
    let drawn = image::open(&sheet).expect("a picture");
    // Three columns and two rows of 8 x 16 pixels, eight times as large.
    assert_eq!((drawn.width(), drawn.height()), (3 * (128 + 2) + 2, 2 * (64 + 2) + 2));
    assert!(refuse(tweedie().args(["data", "nowhere"])).contains("nowhere"));
    let empty = crate::cli::folder();
    assert!(refuse(tweedie().arg("data").arg(empty.path())).contains("no picture"));
    assert!(refuse(survey().arg("-n").arg("5")).contains("--out"));
    // Arrays are not scaled.
    let array = folder.path().join("images.npy");
    let numbers: Vec<f32> = (0..2 * 64).map(|i| i as f32 / 128.0).collect();
    std::fs::write(&array, write_array("(2, 8, 8, 1)", &numbers)).expect("a file");
    for command in ["data", "init"] {
        let config = folder.path().join("array.toml");
        let mut scaled = tweedie();
        scaled.arg(command).arg(&array).args(["--size", "16", "--out"]);
        scaled.arg(if command == "data" { &sheet } else { &config });
        assert!(refuse(&mut scaled).contains("only pictures are scaled"), "{command}");
        assert!(!config.exists());
    }
}

#[test]
fn a_configuration_for_a_folder_trains_and_samples() {
    let folder = folder();
    let photos = folder.path().join("photos");
    pictures(&photos);
    let [config, run, grid] = ["my.toml", "run", "grid.png"].map(|name| folder.path().join(name));
    let init = || {
        let mut command = tweedie();
        command.arg("init").arg(&photos).args(["--size", "8x16", "--out"]).arg(&config);
        command
    };
    succeed(&mut init());
    let text = std::fs::read_to_string(&config).expect("a file");
    let read = Config::from_toml(&text, &[]).expect("a configuration");
    assert_eq!((read.data.image_size, read.data.num_channels), (ImageSize::new(8, 16), 3));
    assert_eq!(read.data.path.as_deref(), Some(&*photos));
    // No distance in [0, 1] exceeds √D, and the two backgrounds are far apart.
    assert!((3.0..(8.0f64 * 16.0 * 3.0).sqrt()).contains(&read.model.sigma_max), "{}", read.model.sigma_max);
    assert!(text.contains("2 classes"));
    assert!(refuse(&mut init()).contains("--overwrite"));
    succeed(init().arg("--overwrite"));
    let small = ["model.nf=8", "model.num_res_blocks=1", "training.batch_size=4", "data.cache=false"];
    let mut train = tweedie();
    train.arg("train").arg(&config).arg("--out").arg(&run).args(["--steps", "3"]);
    succeed(train.args(small.iter().flat_map(|set| ["--set", *set])));
    succeed(tweedie().arg("sample").arg(&run).args(["-n", "4", "--steps", "3", "--out"]).arg(&grid));
    let drawn = image::open(&grid).expect("a picture");
    assert_eq!((drawn.width(), drawn.height()), (2 * (128 + 2) + 2, 2 * (64 + 2) + 2));
}

#[test]
fn the_reference_page_of_keys_is_the_one_that_the_program_prints() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let printed = succeed(tweedie().args(["config", "--markdown"]));
    assert!(printed == page, "tweedie config --markdown > docs/configuration.md");
    let schema: Value = serde_json::from_str(&succeed(tweedie().args(["config", "--json"]))).expect("JSON");
    for (section, table) in toml::Table::try_from(Config::default()).expect("a table") {
        for key in table.as_table().into_iter().flat_map(|table| table.keys()) {
            assert!(schema["properties"][&section]["properties"].get(key).is_some(), "{section}.{key}");
            assert!(page.contains(&format!("| `{key}` |")), "{section}.{key}");
        }
    }
    for arguments in [&["help", "config"][..], &["config"]] {
        assert!(
            succeed(tweedie().args(arguments))
                .contains("image_size: a whole number, or a list of 2 whole numbers")
        );
    }
    assert!(succeed(tweedie().args(["config", "optim.lr"])).contains("0.0002"));
    assert!(refuse(tweedie().args(["config", "optim.lrr"])).contains("optim.lr"));
}

#[test]
fn completions_manual_pages_and_the_version_in_full_are_printed() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(succeed(tweedie().args(["completions", shell])).contains("noise-scales"), "{shell}");
    }
    let folder = folder();
    let pages = folder.path().join("man");
    succeed(tweedie().arg("man").arg(&pages));
    let sample = std::fs::read_to_string(pages.join("tweedie-sample.1")).expect("a page");
    assert!(sample.contains(".TH") && sample.contains("corrector"));
    let version = succeed(tweedie().arg("--version"));
    for part in ["tweedie 0.1.0", "commit", "wgpu      30", "features", "backends"] {
        assert!(version.contains(part), "{version}");
    }
    assert_eq!(succeed(tweedie().arg("-V")).trim(), "tweedie 0.1.0");
}

#[test]
fn options_have_the_names_of_other_programs_and_quiet_leaves_out_the_progress() {
    let folder = folder();
    let sheet = folder.path().join("sheet.png");
    let mut quiet = tweedie();
    quiet.args(["data", "digits", "--quiet", "--output"]).arg(&sheet);
    let output = quiet.output().expect("it starts");
    assert!(output.status.success() && output.stderr.is_empty() && sheet.exists());
    let help = succeed(tweedie().args(["sample", "--help"]));
    for part in ["-o, --out", "--batch-size", "--num-samples", "--device", "Solver:", "Classes:"] {
        assert!(help.contains(part), "{part}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 100), "help is wrapped");
}
