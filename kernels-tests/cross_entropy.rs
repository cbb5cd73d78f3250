use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::cross_entropy;
use tweedie::tensor::Shape;

/// The loss of each sample and its gradient, from shifted exponentials.
fn twin(logits: &Array, labels: &[usize], weight: f64) -> (Array, Array) {
    let (mut loss, mut gradient) = (Vec::new(), Vec::new());
    for (row, label) in logits.values.chunks(logits.shape.c()).zip(labels) {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|v| (v - top).exp()).sum();
        loss.push(weight * (sum.ln() + top - row[*label]));
        let hit = |k: usize| if k == *label { 1.0 } else { 0.0 };
        gradient.extend(row.iter().enumerate().map(|(k, v)| weight * ((v - top).exp() / sum - hit(k))));
    }
    let n = logits.shape.n();
    (Array { shape: Shape::new(n, 1, 1, 1), values: loss }, Array { shape: logits.shape, values: gradient })
}

#[test]
fn the_loss_of_each_sample_and_its_gradient_match_their_twin() {
    for gpu in gpus() {
        for (n, k) in [(1, 1), (3, 2), (5, 4), (64, 10), (65, 7), (2, 257)] {
            for element in elements(gpu) {
                let logits = Array::random(Shape::new(n, 1, 1, k), 1, element).map(|v| 2.0 * v);
                let labels: Vec<usize> = (0..n).map(|i| 7 * i % k).collect();
                let (loss, gradient) = twin(&logits, &labels, -0.75);
                let uploaded = cross_entropy::upload(gpu, &labels, k).unwrap();
                let logits = logits.upload(gpu, element);
                let (actual, slope) = cross_entropy::cross_entropy(&logits, &uploaded, -0.75).unwrap();
                let what = format!("{n} x {k} {element:?}");
                assert_close(&what, &actual, &loss, 64 * k);
                assert_close(&what, &slope, &gradient, 64 * k);
                let (mean, _) = cross_entropy::mean(&logits, &uploaded).unwrap();
                let expected = loss.values.iter().sum::<f64>() / -0.75 / n as f64;
                let mean = mean.read().unwrap();
                assert!((f64::from(mean[0]) - expected).abs() <= 1e-5 * expected.max(1.0), "{what}");
                assert_eq!(mean[1..], [0.0; 3]);
            }
        }
    }
}

#[test]
fn logits_that_overflow_exp_have_a_finite_loss() {
    let gpu = &gpus()[0];
    let shape = Shape::new(2, 1, 1, 5);
    let row = [1e4, 1e4 - 1.0, -1e4, 0.0, 9e3];
    let logits = Array { shape, values: [row, row].concat() };
    let labels = cross_entropy::upload(gpu, &[0, 2], 5).unwrap();
    let (loss, gradient) = cross_entropy::cross_entropy(&logits.f32(gpu), &labels, 1.0).unwrap();
    let (expected, slope) = twin(&logits, &[0, 2], 1.0);
    for (actual, expected) in loss.read().unwrap().iter().zip(&expected.values) {
        assert!(
            (f64::from(*actual) - expected).abs() < 1e-6 * expected.max(1.0),
            "{actual} is not {expected}"
        );
    }
    assert_close("gradient", &gradient, &slope, 64);
}

#[test]
fn a_label_that_is_no_class_is_refused() {
    let message = cross_entropy::upload(&gpus()[0], &[1, 10], 10).err().expect("an error").to_string();
    assert!(message.contains("label 10 "), "{message}");
}

#[test]
fn the_gradient_is_the_derivative_of_the_loss() {
    let gpu = &gpus()[0];
    let shape = Shape::new(6, 1, 1, 10);
    let (x, d) = (Array::random(shape, 1, Element::F32), Array::random(shape, 2, Element::F32));
    let labels = [0, 9, 3, 3, 7, 1];
    let at = |h: f64| {
        let moved = Array { shape, values: x.values.iter().zip(&d.values).map(|(x, d)| x + h * d).collect() };
        twin(&moved, &labels, 1.0 / 6.0).0.values.iter().sum::<f64>()
    };
    let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
    let (_, gradient) =
        cross_entropy::mean(&x.f32(gpu), &cross_entropy::upload(gpu, &labels, 10).unwrap()).unwrap();
    let actual: f64 = gradient.read().unwrap().iter().zip(&d.values).map(|(g, d)| f64::from(*g) * d).sum();
    assert!((actual - expected).abs() < 1e-6, "{actual} is not {expected}");
}
