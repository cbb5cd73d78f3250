use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::softmax;
use tweedie::tensor::Shape;

fn rows(a: &Array) -> impl Iterator<Item = &[f64]> {
    a.values.chunks(a.shape.c())
}

fn twin(x: &Array) -> Array {
    let softmax = |row: &[f64]| {
        let sum: f64 = row.iter().map(|v| v.exp()).sum();
        row.iter().map(|v| v.exp() / sum).collect::<Vec<_>>()
    };
    Array { shape: x.shape, values: rows(x).flat_map(softmax).collect() }
}

/// J v = y (v − y · v), row by row.
fn twin_project(y: &Array, v: &Array) -> Array {
    let project = |(y, v): (&[f64], &[f64])| {
        let mean: f64 = y.iter().zip(v).map(|(y, v)| y * v).sum();
        y.iter().zip(v).map(|(y, v)| y * (v - mean)).collect::<Vec<_>>()
    };
    Array { shape: v.shape, values: rows(y).zip(rows(v)).flat_map(project).collect() }
}

const SHAPES: [[usize; 4]; 6] =
    [[1, 1, 1, 1], [2, 1, 5, 33], [3, 1, 7, 4], [2, 1, 64, 64], [1, 1, 3, 257], [2, 1, 65, 63]];

#[test]
fn softmax_its_adjoint_and_its_tangents_match_their_twins() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for shape in SHAPES.map(Shape) {
                let what = format!("{shape} {element:?}");
                // Rounding y to f16 changes y . v by |v| / 4096, so x and v are small.
                let size = if element == Element::F16 { 1.0 } else { 4.0 };
                let x = Array::random(shape.with_n(3 * shape.n()), 1, element).map(|v| size * v);
                let stack = softmax::forward(&x.upload(gpu, element), 2).unwrap();
                let n = shape.n();
                let y = twin(&x.samples(0, n));
                let mut expected = y.clone();
                expected.shape = x.shape;
                for k in 1..3 {
                    expected.values.extend(twin_project(&y, &x.samples(k * n, n)).values);
                }
                assert_close(&what, &stack, &expected, 16 * shape.c());

                let primal = softmax::forward(&x.samples(0, n).upload(gpu, element), 0).unwrap();
                assert_close(&what, &primal, &y, 16 * shape.c());
                let dy = Array::random(shape, 2, element);
                let dx = softmax::backward(&y.upload(gpu, element), &dy.upload(gpu, element)).unwrap();
                assert_close(&what, &dx, &twin_project(&y, &dy), 16 * shape.c());
            }
        }
    }
}

#[test]
fn rows_that_overflow_exp_are_still_a_distribution() {
    let gpu = &gpus()[0];
    let x = Array { shape: Shape::new(1, 1, 1, 5), values: vec![1e4, 1e4 - 1.0, -1e4, 0.0, 9e3] };
    let y = softmax::forward(&x.f32(gpu), 0).unwrap().read().unwrap();
    let e = (-1f64).exp();
    for (actual, expected) in y.iter().zip([1.0 / (1.0 + e), e / (1.0 + e), 0.0, 0.0, 0.0]) {
        assert!((f64::from(*actual) - expected).abs() < 1e-6, "{y:?}");
    }
}

#[test]
fn the_adjoint_of_the_tangents_is_the_derivative_of_their_pairing() {
    // d/dh of ⟨u₀, y(x + h d)⟩ + Σ ⟨uₖ, J(x + h d) (vₖ + h dₖ)⟩ by central differences of the twin.
    for gpu in gpus() {
        for shape in SHAPES.map(Shape) {
            let (n, all) = (shape.n(), shape.with_n(3 * shape.n()));
            let x = Array::random(all, 1, Element::F32);
            let (u, d) = (Array::random(all, 2, Element::F32), Array::random(all, 3, Element::F32));
            let pairing = |h: f64| {
                let at = Array {
                    shape: all,
                    values: x.values.iter().zip(&d.values).map(|(x, d)| x + h * d).collect(),
                };
                let y = twin(&at.samples(0, n));
                let tangents =
                    (1..3).map(|k| twin_project(&y, &at.samples(k * n, n)).dot(&u.samples(k * n, n)));
                y.dot(&u.samples(0, n)) + tangents.sum::<f64>()
            };
            let expected = (pairing(1e-5) - pairing(-1e-5)) / 2e-5;
            let tx = x.f32(gpu);
            let y = softmax::forward(&tx, 2).unwrap();
            let dx = softmax::backward_stack(&tx, &y, &u.f32(gpu), 2).unwrap().read().unwrap();
            let actual: f64 = dx.iter().zip(&d.values).map(|(a, b)| f64::from(*a) * b).sum();
            let scale = (shape.len() as f64).sqrt();
            assert!((actual - expected).abs() <= 1e-5 * scale, "{shape}: {actual} is not {expected}");
        }
    }
}
