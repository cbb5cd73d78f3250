//! `tweedie evaluate` from the command line: sides, features, metrics and outputs.

use crate::cli::{folder, refuse, stderr, succeed, trained, tweedie};
use crate::inception::tensor;
use crate::pickler::{Pickler, Py};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use tweedie::kernels::KernelError;
use tweedie::nn::Inception;

fn evaluate(args: &[&str]) -> Command {
    let mut command = tweedie();
    command.arg("evaluate").args(args);
    command
}

fn report(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(evaluate(args).arg("--json"))).expect("JSON")
}

fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("no {key} in {report}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

#[test]
fn a_model_is_sampled_on_the_fly_as_sample_does() {
    let folder = folder();
    let samples = folder.path().join("samples.npz");
    let seed = ["--seed", "7", "--steps", "3"];
    succeed(tweedie().arg("sample").arg(trained()).args(["-n", "24"]).args(seed).arg("--out").arg(&samples));
    let drawn = report(&[&[text(trained()), "-n", "24"], &seed[..]].concat());
    let read = report(&[text(&samples), "digits"]);
    for key in ["frechet_distance", "kernel_distance", "precision", "recall", "copies", "samples", "test"] {
        assert_eq!(number(&drawn, key), number(&read, key), "{key}");
    }
    assert_eq!((drawn["samples"].as_u64(), drawn["test"].as_u64()), (Some(24), Some(360)));
    // The features of the training images differ from those of the test images.
    let training = report(&[&[text(trained()), "own:train", "-n", "24"], &seed[..]].concat());
    assert_eq!(training["test"], 1437);
    for (args, message) in [
        (&["digits", "-n", "5"][..], "-n: neither side is a model"),
        (&["digits", "--steps", "5"], "--steps: neither side is a model"),
        (&["digits", "--resume"], "--resume: comparing samples with data is not kept in parts"),
        (&["digits", "--convention", "pytorch"], "--convention is Inception's"),
        (&["digits", "--metrics", "inception-score"], "it needs logits"),
        (&["digits", "nothing:test"], "nothing has no training and test images"),
        (&["digits", "--components", "65"], "the features have 64 dimensions"),
        (&["digits", "--stats", "f.txt"], "choose a file that ends in .npz"),
        (&["digits", "--features", "nothing"], "it must be pixels, inception or a classifier"),
    ] {
        let refused = refuse(&mut evaluate(args));
        assert!(refused.contains(message), "{refused}");
    }
}

#[test]
fn written_statistics_stand_for_the_data_that_they_describe() {
    let folder = folder();
    let file = folder.path().join("digits.npz");
    let file = text(&file);
    let whole = report(&["digits:train", "digits", "--stats", file]);
    let from_file = report(&["digits", file]);
    let (a, b) = (number(&whole, "frechet_distance"), number(&from_file, "frechet_distance"));
    // The sides are swapped, and roots of zero variances differ by the root of the rounding.
    assert!((a / b - 1.0).abs() < 1e-6 && (a - 0.27).abs() < 0.005, "{a} {b}");
    assert_eq!((&from_file["test"], &from_file["precision"]), (&Value::Null, &Value::Null));
    let refused = refuse(&mut evaluate(&["digits", file, "--metrics", "kernel"]));
    assert!(refused.contains("needs the images of both sides"), "{refused}");
    // Fewer components have less distance, and real images are precise and complete.
    let some = report(&["digits:train", "digits", "--components", "16"]);
    assert_eq!(some["dimensions"], 16);
    let c = number(&some, "frechet_distance");
    assert!(c > 0.0 && c < a, "{c} {a}");
    for key in ["precision", "recall"] {
        assert!(number(&some, key) > 0.7, "{key}: {some}");
    }
    let (kernel, error) = (number(&some, "kernel_distance"), number(&some, "kernel_distance_standard_error"));
    assert!(error > 0.0 && kernel.abs() < 6.0 * error, "{kernel} {error}");
    let other = refuse(&mut evaluate(&["digits_color", file]));
    assert!(other.contains("192 dimensions"), "{other}");
}

#[test]
fn a_table_and_a_picture_of_neighbours_are_written_and_few_samples_warned_of() {
    let folder = folder();
    let picture = folder.path().join("neighbours.png");
    let table = succeed(
        evaluate(&["digits:test", "digits:train", "--markdown", "--neighbors", text(&picture)])
            .arg("--metrics")
            .arg("frechet,copies"),
    );
    assert!(table.contains("on pixels, 64 dimensions"), "{table}");
    assert!(table.contains("| metric | value |") && table.lines().count() == 6, "{table}");
    // Ten rows of a sample and eight neighbours, 64 pixels each with gaps of 2.
    let picture = image::open(&picture).expect("a picture");
    assert_eq!((picture.width(), picture.height()), (9 * 66 + 2, 10 * 66 + 2));
    let samples = folder.path().join("few.npz");
    succeed(tweedie().arg("sample").arg(trained()).args(["-n", "8", "--steps", "2", "--out"]).arg(&samples));
    let said = stderr(&mut evaluate(&[text(&samples)]));
    assert!(said.contains("8 samples for features of 64 dimensions"), "{said}");
    assert!(said.contains("left out: the kernel distance needs at least 20 images"), "{said}");
}

#[test]
fn a_classifiers_logits_are_features_and_have_a_score() {
    let folder = folder();
    let run = folder.path().join("classifier");
    let mut train = tweedie();
    train.args(["train", "digits_classifier", "--steps", "2", "--out"]).arg(&run);
    for set in
        ["model.nf=4", "model.channel_multiplier=1", "model.embedding_size=8", "model.blocks_per_group=1"]
    {
        train.args(["--set", set]);
    }
    succeed(&mut train);
    let found = report(&["digits:train", "digits", "--features", text(&run)]);
    assert_eq!(found["dimensions"], 10);
    assert!(number(&found, "inception_score") >= 1.0, "{found}");
}

/// A checkpoint with the tensors that the network asks for.
fn weights(change: impl Fn(&str, &mut Vec<usize>) -> bool) -> Vec<u8> {
    let mut pairs = Vec::new();
    let gpu = tweedie::gpu::Gpu::open(None).expect("an adapter");
    let mut asked = |name: &str, shape: &[usize]| {
        let mut file_shape = shape.to_vec();
        if change(name, &mut file_shape) {
            pairs.push((name.to_string(), Py::Tensor(file_shape.clone(), tensor(name, &file_shape))));
        }
        Ok::<_, KernelError>(vec![0.0; shape.iter().product()])
    };
    Inception::build(&gpu, &mut asked).expect("a network");
    Pickler::of(&Py::Dict(pairs)).archive()
}

#[test]
fn inceptions_weights_are_remembered_and_files_that_do_not_fit_refused() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let cached = |args: &[&str]| {
        let mut command = evaluate(args);
        command.env("XDG_CACHE_HOME", at("cache"));
        command
    };
    let few = ["data:digits:0-3", "data:digits:4-7", "--metrics", "frechet,inception-score"];
    let refused = refuse(&mut cached(&["digits", "--features", "inception"]));
    assert!(refused.contains("--inception FILE.pth"), "{refused}");

    let first = |name: &str| name.starts_with("Conv2d_1a");
    let cut = weights(|name, shape| {
        if name == "Conv2d_1a_3x3.conv.weight" {
            shape[0] = 16;
        }
        first(name)
    });
    std::fs::write(at("cut.pth"), cut).expect("a file");
    let refused = refuse(&mut cached(&["digits", "--inception", text(&at("cut.pth"))]));
    assert!(
        refused.contains("Conv2d_1a_3x3.conv.weight has shape [16, 3, 3, 3], not [32, 3, 3, 3]"),
        "{refused}"
    );
    std::fs::write(at("part.pth"), weights(|name, _| first(name))).expect("a file");
    let refused = refuse(&mut cached(&["digits", "--inception", text(&at("part.pth"))]));
    assert!(refused.contains("there is no tensor Conv2d_2a_3x3.conv.weight"), "{refused}");
    assert!(!at("cache/tweedie/inception.json").exists(), "a file that does not fit is remembered");

    let file = at("pt_inception.pth");
    std::fs::write(&file, weights(|_, _| true)).expect("a file");
    let refused = refuse(&mut cached(&[&few[..], &["--inception", text(&file)]].concat()));
    assert!(refused.contains("at least 10 images"), "{refused}");
    let mut remembered =
        cached(&[&few[..2], &["--metrics", "frechet", "--features", "inception", "--json"]].concat());
    let found: Value = serde_json::from_str(&succeed(&mut remembered)).expect("JSON");
    assert_eq!((&found["dimensions"], &found["samples"]), (&Value::from(2048), &Value::from(4)));
    assert!(number(&found, "frechet_distance") > 0.0);
    assert!(found["convention"].as_str().expect("a convention").starts_with("pytorch"), "{found}");
    std::fs::write(&file, "changed").expect("a file");
    let refused = refuse(&mut cached(&["digits", "--features", "inception"]));
    assert!(refused.contains("its checksum has changed"), "{refused}");
    std::fs::remove_file(&file).expect("a file");
    let refused = refuse(&mut cached(&["digits", "--features", "inception"]));
    assert!(refused.contains("cannot be read; name them with --inception FILE"), "{refused}");
}
