//! `tweedie score` for every kind of conditioning and process on a small grey model, compared with the bare
//! network's output.

use crate::interop::{folder, refuse, succeed, tweedie};
use crate::support::{read_safetensors, relative_error, tiny_with};
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;
use tweedie::train::Checkpoint;

const N: usize = 3;
const PIXELS: usize = 64;

fn write(path: &Path, tensors: &[(&str, Vec<usize>, Vec<f32>)]) {
    let views = tensors.iter().map(|(name, shape, values)| {
        (*name, TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).expect("a view"))
    });
    safetensors::serialize_to_file(views, None, path).expect("a file");
}

fn waves(len: usize, pitch: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * pitch).sin()).collect()
}

fn x() -> (&'static str, Vec<usize>, Vec<f32>) {
    ("x", vec![N, 1, 8, 8], waves(N * PIXELS, 0.7))
}

/// The model in a file of its own, with some keys set.
fn model(folder: &Path, set: &[&str]) -> std::path::PathBuf {
    let (config, registry, state) = tiny_with(set);
    let path = folder.join("model.safetensors");
    Checkpoint::write_state(&state, &registry, &config, &path).expect("a checkpoint");
    path
}

fn score(model: &Path, tensors: &[(&str, Vec<usize>, Vec<f32>)], name: &str, extra: &[&str]) -> Vec<f32> {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    write(&at("in.safetensors"), tensors);
    let mut command = tweedie();
    command.arg("score").arg(model).arg("--in").arg(at("in.safetensors"));
    succeed(command.arg("--out").arg(at("out.safetensors")).args(extra));
    read_safetensors(&at("out.safetensors"))[name].values.iter().map(|v| *v as f32).collect()
}

/// The reference's conditioning value at time t and the factor of the network's output, written
/// independently: N = 31 steps, β from 0.1 to 20, σ from 0.01 to 50.
fn reference(sde: &str, continuous: bool, t: f64) -> (f64, f64) {
    let exponent = -0.25 * t * t * 19.9 - 0.5 * t * 0.1;
    match (sde, continuous) {
        ("vesde", _) => (((1.0 - t) * 30.0).round(), 1.0),
        ("subvpsde", true) => (999.0 * t, -1.0 / (1.0 - (2.0 * exponent).exp())),
        (_, true) => (999.0 * t, -1.0 / (1.0 - (2.0 * exponent).exp()).sqrt()),
        (_, false) => {
            let label = t * 30.0;
            let beta = |i: usize| (0.1 + 19.9 * i as f64 / 30.0) / 31.0;
            let kept: f64 = (0..=label as usize).map(|i| 1.0 - beta(i)).product();
            (label, -1.0 / (1.0 - kept).sqrt())
        }
    }
}

#[test]
fn the_score_is_the_networks_output_at_the_references_label_times_the_references_factor() {
    // Times on the grid of the steps, and between its points.
    let times = [1.0 / 3.0, 0.41, 1.0];
    for (sde, continuous) in [("vpsde", true), ("vpsde", false), ("subvpsde", true), ("vesde", false)] {
        let folder = folder();
        let continuous_key = format!("training.continuous={continuous}");
        let sde_key = format!("training.sde={sde}");
        let model = model(folder.path(), &["model.num_scales=31", &sde_key, &continuous_key]);
        let t = |values: Vec<f64>| ("t", vec![N], values.into_iter().map(|v| v as f32).collect::<Vec<f32>>());
        let scores = score(&model, &[x(), t(times.to_vec())], "score", &[]);
        let facts = times.map(|t| reference(sde, continuous, f64::from(t as f32)));
        let labels = facts.iter().map(|(label, _)| *label).collect();
        let outputs = score(&model, &[x(), t(labels)], "out", &["--network"]);
        let expected: Vec<f64> =
            outputs.iter().enumerate().map(|(i, out)| f64::from(*out) * facts[i / PIXELS].1).collect();
        let error = relative_error(&scores, &expected);
        assert!(error < 1e-5, "{sde} {continuous}: {error:e}");
    }
}

#[test]
fn several_probes_give_the_mean_of_each_alone() {
    let folder = folder();
    let model = model(folder.path(), &["training.continuous=true", "training.sde=subvpsde"]);
    let t = ("t", vec![N], vec![0.2, 0.5, 0.9]);
    let [a, b] = [1.3, 2.9].map(|pitch| waves(N * PIXELS, pitch));
    let divergence = |eps: (&'static str, Vec<usize>, Vec<f32>)| {
        score(&model, &[x(), t.clone(), eps], "divergence", &["--divergence"])
    };
    let both = divergence(("eps", vec![2, N, 1, 8, 8], [&a[..], &b].concat()));
    let alone = [a, b].map(|eps| divergence(("eps", vec![N, 1, 8, 8], eps)));
    let mean: Vec<f64> = (0..N).map(|i| f64::from(alone[0][i] + alone[1][i]) / 2.0).collect();
    let error = relative_error(&both, &mean);
    assert!(error < 1e-4, "{error:e}");
    assert_ne!(alone[0], alone[1]);
}

#[test]
fn options_of_random_probes_are_refused_without_random_probes() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let model = model(folder.path(), &[]);
    let t = ("t", vec![N], vec![0.2, 0.5, 0.9]);
    write(&at("drawn.safetensors"), &[x(), t.clone()]);
    write(&at("given.safetensors"), &[x(), t, ("eps", vec![N, 1, 8, 8], waves(N * PIXELS, 1.3))]);
    let given = "has the probes, `eps`, and none are drawn";
    for (input, options, expected) in [
        ("given", &["--divergence", "--probes", "2"][..], given),
        ("given", &["--divergence", "--seed", "2"], given),
        ("drawn", &["--probes", "2"], "--divergence"),
        ("drawn", &["--seed", "2"], "--divergence"),
        ("drawn", &["--divergence", "--probes", "0"], "--probes 0"),
    ] {
        let mut command = tweedie();
        command.arg("score").arg(&model).arg("--in").arg(at(&format!("{input}.safetensors")));
        let message = refuse(command.args(options).arg("--out").arg(at("out.safetensors")));
        assert!(message.contains(expected), "{input} {options:?}: {message}");
        assert!(!at("out.safetensors").exists());
    }
}

#[test]
fn an_error_names_each_of_its_causes_once() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let model = model(folder.path(), &[]);
    // The header reader's message already contains its cause's.
    let header = r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
    std::fs::write(at("negative.safetensors"), bytes).expect("a file");
    let mut command = tweedie();
    command.arg("score").arg(model).arg("--in").arg(at("negative.safetensors"));
    let message = refuse(command.arg("--out").arg(at("out.safetensors")));
    assert_eq!(message.matches("-4").count(), 1, "{message}");
}
