use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::reduce::{self, Axis};
use tweedie::tensor::Shape;

#[test]
fn sums_over_the_middle_axis_match_their_twin() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for (outer, length, c) in
                [(1, 1, 4), (3, 7, 8), (2, 256, 4), (1, 257, 12), (2, 1025, 4), (1, 70_001, 4)]
            {
                let x = Array::random(Shape::new(outer, length, 1, c), 1, element);
                let twin = Array::from_fn(Shape::new(outer, 1, 1, c), |o, _, _, c| {
                    (0..length).map(|l| x.at(o, l, 0, c)).sum()
                });
                let y = Array::zeros(twin.shape).f32(gpu);
                let axis = Axis { first: 0, outer, length, inner: c / 4 };
                let tx = x.upload(gpu, element);
                reduce::sum_axis(&tx, axis, &y, false).unwrap();
                assert_close(&format!("{axis:?} {element:?}"), &y, &twin, length);
                reduce::sum_axis(&tx, axis, &y, true).unwrap();
                assert_close(&format!("{axis:?} accumulated"), &y, &twin.map(|v| 2.0 * v), length);
            }
        }
    }
}

#[test]
fn a_bias_gradient_sums_the_pixels_of_the_first_samples() {
    let gpu = &gpus()[0];
    let x = Array::random(Shape::new(5, 3, 7, 6), 1, Element::F32);
    let y = Array::zeros(Shape::vector(6)).f32(gpu);
    reduce::sum_pixels(&x.f32(gpu), 3, &y, false).unwrap();
    let mut twin = Array::zeros(Shape::vector(6));
    for (i, value) in x.samples(0, 3).values.iter().enumerate() {
        twin.values[i % 6] += value;
    }
    assert_close("pixels", &y, &twin, 63);
}

#[test]
fn a_view_beyond_the_tensor_is_refused() {
    let gpu = &gpus()[0];
    let x = Array::zeros(Shape::new(1, 4, 1, 4)).f32(gpu);
    let y = Array::zeros(Shape::vector(4)).f32(gpu);
    let axis = Axis { first: 1, outer: 1, length: 4, inner: 1 };
    assert!(reduce::sum_axis(&x, axis, &y, false).is_err());
}
