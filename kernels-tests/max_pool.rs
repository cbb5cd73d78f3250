use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::max_pool::{self, MaxPool};
use tweedie::tensor::Shape;

const CASES: [(MaxPool, [usize; 4]); 6] = [
    (MaxPool { window: 5, pad: 2 }, [2, 7, 5, 6]),
    (MaxPool { window: 5, pad: 2 }, [1, 1, 2, 3]),
    (MaxPool { window: 3, pad: 0 }, [2, 4, 9, 8]),
    (MaxPool { window: 2, pad: 1 }, [1, 5, 3, 1]),
    (MaxPool { window: 1, pad: 0 }, [3, 3, 3, 5]),
    (MaxPool { window: 15, pad: 7 }, [1, 17, 4, 4]),
];

/// The position in the image of a window's largest pixel, the first if there are several.
fn chosen(x: &Array, spec: &MaxPool, [n, oy, ox, c]: [usize; 4]) -> (usize, usize) {
    let mut best = None;
    for y in oy.saturating_sub(spec.pad)..(oy + spec.window).saturating_sub(spec.pad).min(x.shape.h()) {
        for i in ox.saturating_sub(spec.pad)..(ox + spec.window).saturating_sub(spec.pad).min(x.shape.w()) {
            if best.is_none_or(|(y0, x0)| x.at(n, y, i, c) > x.at(n, y0, x0, c)) {
                best = Some((y, i));
            }
        }
    }
    best.unwrap()
}

/// Values with many ties.
fn tied(shape: Shape, element: Element) -> Array {
    Array::random(shape, 1, element).map(|v| v.round())
}

#[test]
fn pooling_and_its_tangents_match_their_twin() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for (spec, shape) in CASES {
                let shape = Shape(shape);
                for primal in [Array::random(shape, 1, element), tied(shape, element)] {
                    let tangents = Array::random(shape.with_n(2 * shape.n()), 2, element);
                    let values = [primal.values.clone(), tangents.values].concat();
                    let stack = Array { shape: shape.with_n(3 * shape.n()), values };
                    let (y, _) = max_pool::forward(&stack.upload(gpu, element), &spec, 2).unwrap();
                    let twin = Array::from_fn(y.shape(), |n, h, w, c| {
                        let (y, x) = chosen(&primal, &spec, [n % shape.n(), h, w, c]);
                        stack.at(n, y, x, c)
                    });
                    assert_close(&format!("{spec:?} of {shape} {element:?}"), &y, &twin, 0);
                }
            }
        }
    }
}

#[test]
fn the_adjoint_returns_to_the_pixels_that_were_chosen() {
    for gpu in gpus() {
        for (spec, shape) in CASES {
            let shape = Shape(shape);
            let primal = tied(shape, Element::F32);
            let stack = Array { shape: shape.with_n(2 * shape.n()), values: primal.values.repeat(2) };
            let (y, choices) = max_pool::forward(&stack.f32(gpu), &spec, 1).unwrap();
            let dy = Array::random(y.shape(), 3, Element::F32);
            let dx = max_pool::backward(&dy.f32(gpu), stack.shape, &choices, &spec).unwrap();
            let mut twin = Array::zeros(stack.shape);
            for n in 0..y.shape().n() {
                for h in 0..y.shape().h() {
                    for w in 0..y.shape().w() {
                        for c in 0..y.shape().c() {
                            let (y, x) = chosen(&primal, &spec, [n % shape.n(), h, w, c]);
                            *twin.at_mut(n, y, x, c) += dy.at(n, h, w, c);
                        }
                    }
                }
            }
            assert_close(&format!("{spec:?} of {shape}"), &dx, &twin, 25);
        }
    }
}

#[test]
fn a_window_that_does_not_fit_is_refused() {
    let x = Array::zeros(Shape::new(1, 2, 2, 4)).f32(&gpus()[0]);
    for (window, pad) in [(3, 0), (16, 2), (5, 5), (0, 0)] {
        assert!(max_pool::forward(&x, &MaxPool { window, pad }, 0).is_err());
    }
}
