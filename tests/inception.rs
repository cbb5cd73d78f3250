//! Inception v3 against PyTorch: weights and images come from the same counter-based generator on both sides
//! (scripts/evaluation_fixtures.py), so that only PyTorch's outputs are stored.

use serde_json::Value;
use std::sync::OnceLock;
use tweedie::gpu::Gpu;
use tweedie::kernels::KernelError;
use tweedie::nn::{Inception, Input};
use tweedie::random::{Key, Purpose};
use tweedie::tensor::{Shape, Tensor};

const FIXTURE: &str = include_str!("fixtures/inception.json");

fn uniform(purpose: u16, sample: u32, count: usize) -> impl Iterator<Item = f32> {
    let key = Key::new(0, Purpose::Other(purpose));
    (0..count.div_ceil(4) as u32).flat_map(move |block| key.uniform(sample, block)).take(count)
}

/// A tensor of the checkpoint: as in the script.
pub fn tensor(name: &str, shape: &[usize]) -> Vec<f32> {
    let numbers = uniform(1, crc32fast::hash(name.as_bytes()), shape.iter().product());
    let fan = shape[1..].iter().product::<usize>() as f64;
    let scale = (0.5 * (24.0 / fan).log2()).round_ties_even().exp2() as f32;
    let value = |u: f32| match () {
        () if name.ends_with("running_var") => u + 0.5,
        () if name.ends_with("bn.weight") => u * 0.5 + 0.75,
        () if shape.len() == 1 => (u - 0.5) * 0.25,
        () => (u - 0.5) * scale,
    };
    numbers.map(value).collect()
}

fn network() -> &'static (Inception, Tensor) {
    static NETWORK: OnceLock<(Inception, Tensor)> = OnceLock::new();
    NETWORK.get_or_init(|| {
        let gpu = Gpu::open(None).expect("an adapter");
        let mut read = |name: &str, shape: &[usize]| Ok::<_, KernelError>(tensor(name, shape));
        let inception = Inception::build(&gpu, &mut read).expect("a network");
        let levels: Vec<f32> = uniform(2, 0, 2 * 32 * 24 * 3).map(|u| (256.0 * u).floor()).collect();
        let levels = Tensor::from_slice(&gpu, Shape::new(2, 32, 24, 3), &levels).expect("images");
        (inception, levels)
    })
}

/// Asserts that an output has the root mean square and the values of the fixture, within 1e-4 of the former.
fn assert_same(convention: &str, name: &str, output: &Tensor) {
    let fixture: Value = serde_json::from_str(FIXTURE).expect("JSON");
    let expected = &fixture[convention][name];
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{name} is not in the fixture"));
    let (values, scale) = (output.read().expect("a download"), number(&expected["rms"]));
    let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64;
    assert!((square.sqrt() / scale - 1.0).abs() < 1e-4, "{name}: {} is not {scale}", square.sqrt());
    for (i, probe) in expected["probes"].as_array().expect("probes").iter().enumerate() {
        let at = i * 2_654_435_761 % values.len();
        let error = (f64::from(values[at]) - number(probe)).abs();
        assert!(error < 1e-4 * scale, "{name}, value {at}: {} is not {probe}, of {scale}", values[at]);
    }
}

#[test]
fn every_block_computes_what_pytorch_computes() {
    let (inception, levels) = network();
    let blocks = inception.blocks(levels, Input::TensorFlow).expect("blocks");
    assert_eq!(blocks.len(), 19);
    for (name, output) in &blocks {
        assert_same("tensorflow", name, output);
    }
    assert_eq!(blocks[18].1.shape(), Shape::new(2, 8, 8, 2048));
}

#[test]
fn features_and_logits_are_pytorchs_in_both_conventions() {
    let (inception, levels) = network();
    for (name, input) in [("tensorflow", Input::TensorFlow), ("pytorch", Input::PyTorch)] {
        let outputs = inception.run(levels, input).expect("outputs");
        assert_same(name, "features", &outputs.features);
        assert_same(name, "logits", &outputs.logits);
    }
    let grey = Tensor::zeros(inception.gpu(), Shape::new(1, 8, 8, 1)).expect("memory");
    assert!(inception.run(&grey, Input::TensorFlow).is_err());
}
