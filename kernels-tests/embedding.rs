use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::embedding;
use tweedie::tensor::Shape;

fn twin(values: &Array, frequencies: &[f32], width: usize, angle: impl Fn(f32, f32) -> f32) -> Array {
    let half = frequencies.len();
    Array::from_fn(Shape::new(values.shape.n(), 1, 1, width), |n, _, _, c| {
        let a = f64::from(angle(values.values[n] as f32, frequencies[c % half.max(1)]));
        if c < half {
            a.sin()
        } else if c < 2 * half {
            a.cos()
        } else {
            0.0
        }
    })
}

#[test]
fn fourier_features_of_large_angles_match_their_twin() {
    for gpu in gpus() {
        for m in [1, 6, 16, 129] {
            let weights = Array::random(Shape::vector(m), 1, Element::F32).map(|v| 16.0 * v);
            let values =
                Array::random(Shape::new(5, 1, 1, 1), 2, Element::F32).map(|v| f64::from(3.0 * v as f32));
            let y = embedding::fourier(&values.f32(gpu), &weights.f32(gpu)).unwrap();
            let w: Vec<f32> = weights.values.iter().map(|v| *v as f32).collect();
            let angle = |v: f32, w: f32| v * w * 2.0 * std::f32::consts::PI;
            assert_close("fourier", &y, &twin(&values, &w, 2 * m, angle), 16);
        }
    }
}

#[test]
fn sinusoids_of_labels_match_their_twin() {
    for gpu in gpus() {
        for width in [4, 5, 16, 31, 128] {
            let values = Array { shape: Shape::new(4, 1, 1, 1), values: vec![0.0, 1.0, 499.5, 999.0] };
            let frequencies = embedding::sinusoidal_frequencies(width, 1.0);
            let on_device = Array {
                shape: Shape::vector(width / 2),
                values: frequencies.iter().map(|v| f64::from(*v)).collect(),
            };
            let y = embedding::sinusoidal(&values.f32(gpu), &on_device.f32(gpu), width).unwrap();
            assert_close("sinusoidal", &y, &twin(&values, &frequencies, width, |v, w| v * w), 16);
        }
    }
}

#[test]
fn frequencies_fall_geometrically_from_1_to_a_ten_thousandth() {
    let frequencies = embedding::sinusoidal_frequencies(128, 1.0);
    assert_eq!(frequencies.len(), 64);
    assert_eq!(frequencies[0], 1.0);
    assert!((frequencies[63] - 1e-4).abs() < 1e-9);
}
