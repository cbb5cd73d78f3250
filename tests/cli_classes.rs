//! Classes from the command line: classifiers, guidance, and class-conditional models.

use crate::cli::{checkpoint, folder, refuse, succeed, tweedie};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The smallest classifier.
const TINY: [&str; 10] = [
    "model.nf=4",
    "model.channel_multiplier=1",
    "model.embedding_size=8",
    "model.dropout=0.1",
    "training.batch_size=8",
    "training.snapshot_freq=10",
    "training.log_freq=5",
    "training.snapshot_sampling=true",
    "model.blocks_per_group=1",
    "optim.warmup=0",
];

/// The smallest class-conditional model.
const TOLD: [&str; 6] = [
    "model.nf=4",
    "model.num_res_blocks=1",
    "model.num_classes=10",
    "training.batch_size=8",
    "sampling.steps=4",
    "optim.warmup=0",
];

fn train(config: &str, out: &Path, set: &[&str], steps: &str) -> Command {
    let mut command = tweedie();
    command.args(["train", config, "--steps", steps, "--out"]).arg(out);
    for assignment in set {
        command.args(["--set", assignment]);
    }
    command
}

fn train_classifier(out: &Path, set: &[&str], steps: &str) -> Command {
    train("configs/digits_classifier.toml", out, &[&TINY, set].concat(), steps)
}

struct Models {
    folder: tempfile::TempDir,
}

impl Models {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A score model, a classifier of its images, and a class-conditional model, each after a few steps of
/// training.
fn models() -> &'static Models {
    static MODELS: OnceLock<Models> = OnceLock::new();
    MODELS.get_or_init(|| {
        let models = Models { folder: folder() };
        let plain: Vec<&str> = TOLD.into_iter().filter(|set| !set.contains("num_classes")).collect();
        succeed(&mut train("configs/digits_ve.toml", &models.at("plain"), &plain, "3"));
        succeed(&mut train("configs/digits_ve.toml", &models.at("told"), &TOLD, "3"));
        succeed(&mut train_classifier(&models.at("classifier"), &[], "3"));
        models
    })
}

fn sample(model: &str, args: &[&str], out: &Path) -> Command {
    let mut command = tweedie();
    command.arg("sample").arg(models().at(model)).args(args).arg("--out").arg(out);
    command
}

fn values(path: &Path) -> (Vec<u64>, Vec<f32>) {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).expect("a file")).expect("an archive");
    let array = npyz::NpyFile::new(archive.by_name("samples.npy").expect("samples")).expect("an array");
    (array.shape().to_vec(), array.into_vec::<f32>().expect("float32"))
}

#[test]
fn a_stopped_classifier_resumes_bit_for_bit_and_draws_no_samples() {
    let folder = folder();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    succeed(&mut train_classifier(&whole, &[], "20"));
    succeed(&mut train_classifier(&broken, &[], "10"));
    succeed(tweedie().args(["train", "--resume", "--steps", "20", "--out"]).arg(&broken));
    let read = |run: &Path| std::fs::read(checkpoint(run, 20)).expect("a checkpoint");
    assert!(read(&whole) == read(&broken), "the checkpoints differ");
    assert!(whole.join("loss.png").exists() && !whole.join("samples").exists());
}

#[test]
fn a_class_conditional_model_resumes_bit_for_bit() {
    let folder = folder();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let run = |out: &Path, steps: &str| {
        succeed(&mut train("configs/digits_ve.toml", out, &TOLD, steps));
    };
    run(&whole, "6");
    run(&broken, "3");
    succeed(tweedie().args(["train", "--resume", "--steps", "6", "--out"]).arg(&broken));
    let read = |run: &Path| std::fs::read(checkpoint(run, 6)).expect("a checkpoint");
    assert!(read(&whole) == read(&broken), "the checkpoints differ");
}

#[test]
fn a_classifiers_accuracy_is_reported_by_noise_level() {
    let mut command = tweedie();
    command.arg("evaluate").arg(models().at("classifier")).args(["--data", "digits"]);
    let text = succeed(&mut command);
    assert!(text.contains("accuracy on 360 test images") && text.lines().count() == 13, "{text}");
    let report: serde_json::Value = serde_json::from_str(&succeed(command.arg("--json"))).expect("JSON");
    let levels = report["levels"].as_array().expect("levels");
    assert_eq!(levels.len(), 11);
    assert!((levels[10]["std"].as_f64().expect("a number") - 6.0).abs() < 1e-9);
    assert!(levels.iter().all(|level| (0.0..=1.0).contains(&level["accuracy"].as_f64().expect("a number"))));
    let message = refuse(tweedie().arg("evaluate").arg(models().at("classifier")).args(["--data", "x.gz"]));
    assert!(message.contains("tested on the test images of its own data, digits"), "{message}");
    let mut train = tweedie();
    let message = refuse(train.arg("evaluate").arg(models().at("classifier")).args(["--train", "x.gz"]));
    assert!(message.contains("--train: a classifier is evaluated alone"), "{message}");
    let message = refuse(tweedie().arg("evaluate").arg(models().at("classifier")).args(["-n", "3"]));
    assert!(message.contains("-n: a classifier is evaluated alone"), "{message}");
}

#[test]
fn a_row_of_the_grid_is_a_class_and_a_class_is_the_same_alone() {
    let folder = folder();
    let classifier = models().at("classifier");
    let guided = ["--classifier", classifier.to_str().expect("a path"), "--guidance", "3"];
    for (model, how) in [("plain", &guided[..]), ("told", &[]), ("told", &["--guidance", "0"])] {
        let at = |name: &str| folder.path().join(name);
        let all = [how, &["-n", "3", "--class", "7,0,2"]].concat();
        succeed(sample(model, &all, &at("all.npz")).arg("--out").arg(at("all.png")));
        succeed(&mut sample(model, &[how, &["-n", "3", "--class", "0"]].concat(), &at("zero.npz")));
        let ((shape, all), (_, zero)) = (values(&at("all.npz")), values(&at("zero.npz")));
        assert_eq!(shape, [9, 8, 8, 1]);
        let third = all.len() / 3;
        assert_eq!(all[third..2 * third], zero, "{model} {how:?}");
        assert_ne!(all[..third], zero, "{model} {how:?}: the class changes nothing");
        let grid = image::open(at("all.png")).expect("a picture");
        assert_eq!((grid.width(), grid.height()), (3 * 66 + 2, 3 * 66 + 2));

        let mut judge = tweedie();
        judge.arg("evaluate").arg(at("all.npz")).arg("--classifier").arg(&classifier);
        let report = succeed(judge.args(["--class", "7,0,2", "--json"]));
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        let shares: Vec<f64> =
            (0..3).map(|i| report["classes"][i]["share"].as_f64().expect("a number")).collect();
        let share = report["share"].as_f64().expect("a number");
        assert!((shares.iter().sum::<f64>() / 3.0 - share).abs() < 1e-12);
    }
}

#[test]
fn help_shows_how_to_request_classes_with_and_without_a_classifier() {
    let text = succeed(tweedie().args(["sample", "--help"]));
    assert!(text.contains("--class all --classifier runs/classifier"), "{text}");
    assert!(text.contains("sample runs/conditional -n 10 --class all --out"), "{text}");
}

#[test]
fn known_pixels_combine_with_classes_and_the_flow_with_one_class() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let classifier = models().at("classifier");
    let guided = ["--classifier", classifier.to_str().expect("a path"), "--class"];
    let run = |name: &str, model: &str, args: &[&str], out: &str| {
        let mut command = tweedie();
        command.arg(name).arg(models().at(model)).args(args).arg("--out").arg(at(out));
        command
    };
    let problem = "configs/problems/super_resolution_4x.toml";
    let restore = ["--problem", problem, "--in", "data:digits:3", "--simulate"];
    let inpaint = ["--in", "data:digits:3", "--mask", "left"];
    for (model, how) in [("plain", &guided[..]), ("told", &["--class"])] {
        for (name, args) in [("restore", &restore[..]), ("inpaint", &inpaint[..])] {
            let drawn = |classes: &str| {
                let args = [args, how, &[classes, "-n", "2"]].concat();
                succeed(&mut run(name, model, &args, "x.npz"));
                values(&at("x.npz"))
            };
            let ((shape, both), (_, five)) = (drawn("2,5"), drawn("5"));
            assert_eq!(shape, [4, 8, 8, 1], "{name} {model}");
            assert_eq!(both[128..], five, "{name} {model}");
            // Samples of a barely trained model are black and white for every class; the measurement pulls
            // them away from there.
            let differ = both[..128] != five;
            assert!(
                differ || (name, model) == ("inpaint", "told"),
                "{name} {model}: the class changes nothing"
            );
        }
        let loose = ["--rtol", "1e-2", "--atol", "1e-2"];
        succeed(&mut run(
            "encode",
            model,
            &[&["--in", "data:digits:3"], how, &["5"], &loose].concat(),
            "z.safetensors",
        ));
        let z = at("z.safetensors");
        let z = ["--in", z.to_str().expect("a path")];
        let decoded = |class: &str| {
            succeed(&mut run("decode", model, &[&z, how, &[class], &loose].concat(), "again.npz"));
            values(&at("again.npz")).1
        };
        assert_ne!(decoded("5"), decoded("2"), "{model}: the class changes nothing");
        let message = refuse(&mut run("decode", model, &[&z, how, &["2,5"]].concat(), "none.npz"));
        assert!(message.contains("--class: the flow needs one class"), "{message}");
        let mut likelihood = tweedie();
        likelihood.arg("likelihood").arg(models().at(model)).args(["-n", "2"]).args(how).arg("5").args(loose);
        succeed(&mut likelihood);
    }
    assert!(!at("none.npz").exists());
}

#[test]
fn invalid_classes_are_refused() {
    let folder = folder();
    let out = folder.path().join("s.npz");
    let other = folder.path().join("other");
    succeed(&mut train_classifier(&other, &["model.sigma_max=5.0"], "1"));
    let path = |path: &Path| path.to_str().expect("a path").to_string();
    let (classifier, plain, other) =
        (path(&models().at("classifier")), path(&models().at("plain")), path(&other));
    for (model, args, expected) in [
        ("plain", vec!["--class", "3"], "was trained without classes; guide it with --classifier"),
        ("plain", vec!["--classifier", &classifier], "need a class; add --class"),
        ("plain", vec!["--guidance", "2"], "need a class; add --class"),
        (
            "plain",
            vec!["--class", "10", "--classifier", &classifier],
            "--class 10: it must be numbers from 0 to 9",
        ),
        (
            "plain",
            vec!["--class", "3,x", "--classifier", &classifier],
            "--class 3,x: it must be numbers from 0 to",
        ),
        ("plain", vec!["--class", "3", "--classifier", &classifier, "--guidance", "NaN"], "--guidance NaN"),
        ("plain", vec!["--class", "3", "--classifier", &plain], "is not a classifier"),
        ("plain", vec!["--class", "3", "--classifier", &other], "train a classifier with the same process"),
        ("plain", vec!["--class", "3", "--classifier", "nowhere"], "nowhere does not exist"),
        ("told", vec!["--class", "10"], "--class 10: it must be numbers from 0 to 9"),
        ("classifier", vec!["--class", "1"], "is a classifier, which has no score"),
        ("classifier", vec![], "is a classifier, which has no score"),
    ] {
        let message = refuse(&mut sample(model, &args, &out));
        assert!(message.contains(expected), "{model} {args:?}: {message}");
        assert!(!out.exists());
    }
    let mut score = tweedie();
    score.arg("score").arg(models().at("classifier")).args(["--in", "points.safetensors", "--out"]);
    let message = refuse(score.arg(folder.path().join("score.safetensors")));
    assert!(message.contains("is a classifier, which has no score"), "{message}");
}

#[test]
fn a_classifier_of_other_images_is_refused() {
    let folder = folder();
    let (wide, out) = (folder.path().join("wide"), folder.path().join("s.npz"));
    let centered =
        train_classifier(&wide, &["data.centered=true"], "1").output().expect("the program starts");
    assert!(centered.status.success());
    let wide = wide.to_str().expect("a path");
    let message = refuse(&mut sample("plain", &["--class", "3", "--classifier", wide], &out));
    assert!(message.contains("takes 8x8x1 images in [-1, 1]"), "{message}");
    assert!(message.contains("train a classifier of such images") && !out.exists(), "{message}");
}

#[test]
fn classifiers_that_cannot_be_trained_are_refused() {
    let folder = folder();
    let out = folder.path().join("run");
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/digits/train-images-idx3-ubyte.gz");
    let images = format!("data.images={}", images.display());
    for (set, expected) in [
        (vec!["model.num_classes=0"], "model.num_classes = 0: a classifier needs at least 2 classes"),
        (vec!["model.num_classes=9"], "the data have a label 9"),
        (
            vec!["training.objective=dsm"],
            "the objective classifier and model.name = wideresnet require each other",
        ),
        (vec!["model.embedding_type=positional"], "is conditioned on the noise level by fourier features"),
        (vec!["model.channel_multiplier=0"], "model.channel_multiplier = 0"),
        (vec!["data.dataset=idx", &images], "model.num_classes needs labelled images"),
    ] {
        let message = refuse(&mut train_classifier(&out, &set, "1"));
        assert!(message.contains(expected), "{set:?}: {message}");
        assert!(!out.exists());
    }
    let message = refuse(&mut train("configs/digits_ve.toml", &out, &["training.objective=classifier"], "1"));
    assert!(message.contains("model.name = wideresnet require each other"), "{message}");
    let message = refuse(&mut train("configs/digits_ve.toml", &out, &["model.num_classes=3"], "1"));
    assert!(message.contains("the data have a label"), "{message}");
}
