//! Points of the plane from the command line.

use crate::cli::{folder, refuse, stderr, succeed, tweedie};
use std::path::Path;
use std::process::Command;

const SMALL: [&str; 5] =
    ["model.nf=8", "model.num_res_blocks=1", "training.batch_size=32", "sampling.steps=4", "optim.warmup=0"];

fn train(out: &Path) -> Command {
    let mut command = tweedie();
    command.args(["train", "toy_moons", "--steps", "3", "--out"]).arg(out);
    for set in SMALL {
        command.args(["--set", set]);
    }
    command
}

fn sample(run: &Path, outs: &[&Path]) -> Command {
    let mut command = tweedie();
    command.arg("sample").arg(run).args(["-n", "50"]);
    for out in outs {
        command.arg("--out").arg(out);
    }
    command
}

#[test]
fn points_are_written_as_arrays_text_and_pictures_and_read_again() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    succeed(&mut train(&at("run")));
    let outs = ["s.npz", "s.csv", "s.png"].map(at);
    let mut command = sample(&at("run"), &outs.each_ref().map(|path| path.as_path()));
    succeed(command.arg("--animate").arg(at("s.gif")).arg("--trajectory").arg(at("t.png")));
    let text = std::fs::read_to_string(at("s.csv")).expect("text");
    assert_eq!((text.lines().next(), text.lines().count()), (Some("x,y"), 51));
    for picture in ["s.png", "s.gif", "t.png"] {
        assert!(image::open(at(picture)).expect("a picture").width() > 300, "{picture}");
    }
    // Both files are data, and the same points.
    for (out, data) in [("a", "s.npz"), ("b", "s.csv")] {
        succeed(train(&at(out)).arg("--data").arg(at(data)));
        let text = std::fs::read_to_string(at(out).join("config.toml")).expect("a configuration");
        assert!(text.contains("dataset = \"points\"") && !text.contains("distribution"), "{text}");
    }
    let bytes = |run: &str| std::fs::read(at(run).join("metrics.csv")).expect("rows");
    let losses = |run: &str| -> Vec<String> {
        let text = String::from_utf8(bytes(run)).expect("text");
        text.lines().skip(1).map(|row| row.split(',').take(3).collect::<Vec<_>>().join(",")).collect()
    };
    assert_eq!(losses("a"), losses("b"));
    // The likelihood of the points of a file.
    let mut command = tweedie();
    command.arg("likelihood").arg(at("a")).args(["-n", "5", "--exact", "--json", "--data"]).arg(at("s.csv"));
    let report: serde_json::Value = serde_json::from_str(&succeed(&mut command)).expect("JSON");
    assert!(report["logp"].is_f64() && report["exact_logp"].is_null(), "{report}");
}

#[test]
fn a_field_is_drawn_with_its_errors() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    succeed(&mut train(&at("run")));
    let field = || {
        let mut command = tweedie();
        command.arg("field").arg(at("run"));
        command
    };
    let mut command = field();
    command.args(["--sigma", "0.5,0.1", "--trajectories", "-n", "40", "--json"]);
    let out = succeed(command.arg("--out").arg(at("f.png")).arg("--out").arg(at("f.gif")));
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let levels = report["levels"].as_array().expect("levels");
    assert_eq!(levels.len(), 2);
    assert!((levels[1]["sigma"].as_f64().expect("a number") - 0.1).abs() < 1e-6);
    assert!(levels.iter().all(|level| level["relative_error"].as_f64().is_some_and(|e| e > 0.0)));
    // Two panels a row: the scores learned and exact, and the trajectories of ten samplers.
    let picture = image::open(at("f.png")).expect("a picture");
    assert_eq!((picture.width(), picture.height()), (688, 7 * 344));
    assert!(at("f.gif").exists());
    for (args, what) in [
        (&["--sigma", "50"][..], "noise levels from"),
        (&["--t", "1.5"], "it must be in (0, 1]"),
        (&["--sigma", "nan"], "noise levels from"),
    ] {
        let message = refuse(field().args(args).arg("--out").arg(at("g.png")));
        assert!(message.contains(what), "{message}");
        assert!(!at("g.png").exists());
    }
    let message = refuse(field().args(["--out"]).arg(at("g.jpg")));
    assert!(message.contains("F.png"), "{message}");
}

#[test]
fn what_points_are_not_is_refused_by_name() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    succeed(&mut train(&at("run")));
    std::fs::write(at("bad.csv"), "x,y\n0.1,0.2\n0.3\n").expect("a file");
    let message = refuse(train(&at("new")).arg("--data").arg(at("bad.csv")));
    assert!(message.contains("line 3, `0.3`") && message.contains("bad.csv"), "{message}");
    for (set, what) in [
        ("data.image_size=2", "data.image_size"),
        ("data.centered=true", "data.centered"),
        ("data.random_flip=true", "data.random_flip"),
        ("data.distribution=spiral", "swiss_roll"),
        ("training.objective=vlb", "training.objective"),
        ("data.crop=3", "data.crop"),
        ("model.nf=12", "model.nf"),
    ] {
        let message = refuse(train(&at("new")).args(["--set", set]));
        assert!(message.contains(what), "{set}: {message}");
    }
    assert!(!at("new").exists());
    let message = refuse(&mut sample(&at("run"), &[&at("pictures/")]));
    assert!(message.contains("F.csv"), "{message}");
    std::fs::write(at("points.csv"), "0.1,0.2\n0.3,0.4\n").expect("a file");
    let mut inpaint = tweedie();
    inpaint.arg("inpaint").arg(at("run")).args(["--mask", "left", "--in"]).arg(at("points.csv"));
    let message = refuse(inpaint.arg("--out").arg(at("s.png")));
    assert!(message.contains("model of images"), "{message}");
    let mut digits = tweedie();
    digits.args(["train", "digits_ve", "--out"]).arg(at("new")).arg("--data").arg(at("points.csv"));
    assert!(refuse(&mut digits).contains("a model of points"));
    let said = stderr(train(&at("classes")).args(["--set", "model.num_classes=2"]));
    assert!(said.contains("trained"), "{said}");
}
