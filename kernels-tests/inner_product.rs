use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::inner_product::{inner_product, lanes, normalise, scaled_error};
use tweedie::tensor::Shape;

/// Σ over each sample of f(a, b, e).
fn twin(arrays: [&Array; 3], f: impl Fn(f64, f64, f64) -> f64) -> Vec<f64> {
    let shape = arrays[0].shape;
    let len = shape.with_n(1).len();
    let sample = |n: usize| {
        let at = |a: &Array, i: usize| a.values[n * len + i];
        (0..len).map(|i| f(at(arrays[0], i), at(arrays[1], i), at(arrays[2], i))).sum()
    };
    (0..shape.n()).map(sample).collect()
}

#[test]
fn a_number_of_each_sample_matches_its_twin() {
    for gpu in gpus() {
        for shape in [[3, 5, 7, 3], [1, 1, 1, 1], [2, 17, 16, 5], [5, 1, 1, 2]] {
            let shape = Shape(shape);
            let [a, b, e] = [1, 2, 3].map(|seed| Array::random(shape, seed, Element::F32));
            let [ta, tb, te] = [&a, &b, &e].map(|array| array.f32(gpu));
            let terms = shape.with_n(1).len();
            let assert_near = |what: &str, actual: Vec<f64>, expected: Vec<f64>, scale: Vec<f64>| {
                assert_eq!(actual.len(), expected.len());
                for ((x, y), s) in actual.iter().zip(&expected).zip(scale) {
                    let bound = (-24f64).exp2() * (8.0 + (terms as f64).sqrt()) * s;
                    assert!((x - y).abs() <= bound, "{what} {shape}: {x} is not {y}; bound {bound:e}");
                }
            };
            let inner = lanes(&inner_product(&ta, &tb).unwrap()).unwrap();
            let scale = twin([&a, &b, &e], |a, b, _| (a * b).abs());
            assert_near("inner", inner, twin([&a, &b, &e], |a, b, _| a * b), scale);

            let error = lanes(&scaled_error(&ta, &tb, &te, 1e-2, 1e-3).unwrap()).unwrap();
            let (rtol, atol) = (f64::from(1e-2f32), f64::from(1e-3f32));
            let square = |a: f64, b: f64, e: f64| (e / (atol + rtol * a.abs().max(b.abs()))).powi(2);
            let expected = twin([&a, &b, &e], square);
            assert_near("error", error, expected.clone(), expected);

            let squares = twin([&a, &a, &a], |a, _, _| a * a);
            let scaled = Array::from_fn(shape, |n, h, w, c| a.at(n, h, w, c) * 3.0 / squares[n].sqrt());
            assert_close("normalise", &normalise(&ta, 3.0).unwrap(), &scaled, terms);
        }
    }
}

#[test]
fn operands_of_different_shapes_are_refused() {
    let gpu = &gpus()[0];
    let zeros = |n| Array::zeros(Shape::new(n, 2, 2, 4)).f32(gpu);
    assert!(inner_product(&zeros(1), &zeros(2)).is_err());
    assert!(scaled_error(&zeros(2), &zeros(2), &zeros(1), 1.0, 1.0).is_err());
}
