use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::elementwise::{self, Activation};
use tweedie::tensor::Shape;

/// The value, the first and the second derivative.
fn twin(act: Activation, u: f64) -> [f64; 3] {
    let s = 1.0 / (1.0 + (-u).exp());
    match act {
        Activation::Identity => [u, 1.0, 0.0],
        Activation::Swish => [u * s, s * (1.0 + u * (1.0 - s)), s * (1.0 - s) * (2.0 + u * (1.0 - 2.0 * s))],
        Activation::Elu if u <= 0.0 => [u.exp_m1(), u.exp(), u.exp()],
        Activation::Relu if u <= 0.0 => [0.0; 3],
        Activation::LeakyRelu if u <= 0.0 => [0.2 * u, 0.2, 0.0],
        Activation::Elu | Activation::Relu | Activation::LeakyRelu => [u, 1.0, 0.0],
    }
}

const ALL: [Activation; 5] =
    [Activation::Identity, Activation::Swish, Activation::Elu, Activation::Relu, Activation::LeakyRelu];

#[test]
fn activations_their_tangents_and_adjoints_match_their_twins() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for (act, n) in ALL.into_iter().flat_map(|act| [(act, 1), (act, 3)]) {
                let shape = Shape::new(n, 5, 3, 7);
                let x = Array::random(shape.with_n(3 * n), 1, element).map(|v| 3.0 * v);
                let u = Array::random(x.shape, 2, element);
                let what = format!("{act:?} {n} {element:?}");
                let (tx, tu) = (x.upload(gpu, element), u.upload(gpu, element));
                let len = shape.len();

                let stack = elementwise::activate(&tx, act, 2).unwrap();
                let image = |i: usize| {
                    let [value, slope, _] = twin(act, x.values[i % len]);
                    if i < len { value } else { slope * x.values[i] }
                };
                let expected = Array { shape: x.shape, values: (0..3 * len).map(image).collect() };
                assert_close(&what, &stack, &expected, 64);
                let primal = elementwise::activate(&tx, act, 0).unwrap();
                assert_close(&what, &primal, &x.map(|v| twin(act, v)[0]), 64);

                let pulled = elementwise::activate_backward(&tx, &tu, act, 2).unwrap();
                let adjoint = |i: usize| {
                    let [_, slope, curvature] = twin(act, x.values[i % len]);
                    let tangents = (1..3).map(|k| x.values[i % len + k * len] * u.values[i % len + k * len]);
                    slope * u.values[i] + if i < len { curvature * tangents.sum::<f64>() } else { 0.0 }
                };
                let expected = Array { shape: x.shape, values: (0..3 * len).map(adjoint).collect() };
                assert_close(&what, &pulled, &expected, 64);
            }
        }
    }
}

#[test]
fn sums_and_scalings_match_their_twins() {
    for gpu in gpus() {
        for element in elements(gpu) {
            let shape = Shape::new(4, 3, 5, 6);
            let (a, b) = (Array::random(shape, 1, element), Array::random(shape, 2, element));
            let (ta, tb) = (a.upload(gpu, element), b.upload(gpu, element));
            let short = b.samples(0, 2);

            let y = elementwise::blend(&ta, 0.7, &tb, -1.3).unwrap();
            let twin = Array::from_fn(shape, |n, h, w, c| {
                f64::from(0.7f32) * a.at(n, h, w, c) - f64::from(1.3f32) * b.at(n, h, w, c)
            });
            assert_close("blend", &y, &twin, 2);

            let y = elementwise::blend(&ta, 2.0, &short.upload(gpu, element), 3.0).unwrap();
            let twin = Array::from_fn(shape, |n, h, w, c| {
                2.0 * a.at(n, h, w, c) + if n < 2 { 3.0 * b.at(n, h, w, c) } else { 0.0 }
            });
            assert_close("blend with fewer samples", &y, &twin, 2);

            let y = elementwise::affine(&ta, 2.0, -1.0, 3).unwrap();
            let twin =
                Array::from_fn(shape, |n, h, w, c| 2.0 * a.at(n, h, w, c) - if n < 3 { 1.0 } else { 0.0 });
            assert_close("affine", &y, &twin, 2);

            // An interval without zero: the padding stays zero all the same.
            let y = elementwise::clamp(&ta, 0.25, 1.5).unwrap();
            assert_close("clamp", &y, &a.map(|v| v.clamp(0.25, 1.5)), 0);

            let s = Array::random(Shape::new(2, 1, 1, 1), 3, Element::F32);
            let y = elementwise::scale_samples(&ta, &s.f32(gpu)).unwrap();
            let twin = Array::from_fn(shape, |n, h, w, c| a.at(n, h, w, c) * s.values[n % 2]);
            assert_close("scale_samples", &y, &twin, 1);

            let v = Array::random(Shape::new(3, 1, 1, 6), 4, element);
            let y = elementwise::add_channels(&ta, &v.upload(gpu, element)).unwrap();
            let twin = Array::from_fn(shape, |n, h, w, c| {
                a.at(n, h, w, c) + if n < 3 { v.at(n, 0, 0, c) } else { 0.0 }
            });
            assert_close("add_channels", &y, &twin, 2);

            elementwise::accumulate(&tb, 0.5, &ta).unwrap();
            let twin = Array::from_fn(shape, |n, h, w, c| a.at(n, h, w, c) + 0.5 * b.at(n, h, w, c));
            assert_close("accumulate", &ta, &twin, 2);
        }
    }
}

#[test]
fn means_and_factors_of_channels_match_their_twins_and_their_adjoints() {
    for gpu in gpus() {
        for shape in [Shape::new(4, 3, 5, 6), Shape::new(2, 1, 1, 3), Shape::new(2, 19, 23, 4)] {
            let (x, dy) = (Array::random(shape, 1, Element::F32), Array::random(shape, 2, Element::F32));
            let sum = |a: &Array, n: usize, c: usize, f: &dyn Fn(usize) -> f64| {
                (0..shape.h() * shape.w())
                    .map(|i| f(i) * a.at(n, i / shape.w(), i % shape.w(), c))
                    .sum::<f64>()
            };
            let pixels = shape.h() * shape.w();
            let rows = Shape::new(shape.n(), 1, 1, shape.c());

            let mean = elementwise::mean_pixels(&x.f32(gpu)).unwrap();
            let twin = Array::from_fn(rows, |n, _, _, c| sum(&x, n, c, &|_| 1.0) / pixels as f64);
            assert_close("mean_pixels", &mean, &twin, pixels);
            let du = Array::random(rows, 3, Element::F32);
            let dx = elementwise::mean_pixels_backward(&du.f32(gpu), shape).unwrap();
            assert_adjoint("mean_pixels", &x, &mean, &du, &dx);

            for samples in [1, 2] {
                let v = Array::random(rows.with_n(samples), 4, Element::F32);
                let y = elementwise::scale_channels(&x.f32(gpu), &v.f32(gpu)).unwrap();
                let twin = Array::from_fn(shape, |n, h, w, c| x.at(n, h, w, c) * v.at(n % samples, 0, 0, c));
                assert_close("scale_channels", &y, &twin, 1);
                let dv = elementwise::scale_channels_backward(&x.f32(gpu), &dy.f32(gpu), v.shape).unwrap();
                let twin = Array::from_fn(v.shape, |s, _, _, c| {
                    let products = |n: usize| sum(&x, n, c, &|i| dy.at(n, i / shape.w(), i % shape.w(), c));
                    (s..shape.n()).step_by(samples).map(products).sum()
                });
                assert_close("scale_channels in the factors", &dv, &twin, pixels);
            }
        }
    }
}

#[test]
fn more_than_65_535_workgroups_are_folded() {
    let gpu = &gpus()[0];
    // 65,600 workgroups of 64 invocations, one vec4 each.
    let shape = Shape::new(1, 4100, 1024, 4);
    let x = Array::random(shape, 1, Element::F32);
    let y = elementwise::affine(&x.f32(gpu), 3.0, 1.0, 1).unwrap();
    assert_close("folded", &y, &x.map(|v| 3.0 * v + 1.0), 2);
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let gpu = &gpus()[0];
    let zeros = |n, c| Array::zeros(Shape::new(n, 2, 2, c)).f32(gpu);
    assert!(elementwise::blend(&zeros(1, 4), 1.0, &zeros(2, 4), 1.0).is_err());
    assert!(elementwise::blend(&zeros(2, 4), 1.0, &zeros(2, 5), 1.0).is_err());
    assert!(elementwise::clamp(&zeros(1, 4), 1.0, 0.0).is_err());
    assert!(elementwise::clamp(&zeros(1, 4), f32::NAN, 0.0).is_err());
    assert!(elementwise::add_channels(&zeros(1, 4), &zeros(1, 4)).is_err());
    assert!(
        elementwise::scale_samples(&zeros(3, 4), &Array::zeros(Shape::new(2, 1, 1, 1)).f32(gpu)).is_err()
    );
    assert!(
        elementwise::scale_channels(&zeros(3, 4), &Array::zeros(Shape::new(2, 1, 1, 4)).f32(gpu)).is_err()
    );
    assert!(elementwise::activate(&zeros(4, 4), Activation::Swish, 2).is_err());
}
