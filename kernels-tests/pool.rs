use crate::support::*;
use tweedie::kernels::pool::{self, Pool, Pooled};
use tweedie::tensor::Shape;

/// Window, stride, padding, and the image.
const CASES: [([usize; 3], [usize; 4]); 6] = [
    ([3, 1, 1], [2, 5, 7, 6]),
    ([3, 2, 0], [1, 9, 6, 8]),
    ([3, 2, 0], [2, 3, 4, 3]),
    ([1, 1, 0], [1, 2, 2, 5]),
    ([5, 3, 4], [1, 2, 4, 4]),
    ([17, 1, 8], [1, 4, 17, 1]),
];

#[test]
fn windows_match_their_twin_and_pixels_outside_do_not_count() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for pooled in [Pooled::Mean, Pooled::Largest] {
                for ([window, stride, pad], shape) in CASES {
                    // All negative: a padding of zeros would be the largest.
                    let x = Array::random(Shape(shape), 1, element).map(|v| -v.abs());
                    let spec = Pool { pooled, window, stride, pad };
                    let y = pool::forward(&x.upload(gpu, element), &spec).unwrap();
                    let inside = |o: usize, size: usize| {
                        (o * stride..o * stride + window)
                            .filter_map(move |i| i.checked_sub(pad).filter(|i| *i < size))
                    };
                    let twin = Array::from_fn(y.shape(), |n, h, w, c| {
                        let values: Vec<f64> = inside(h, x.shape.h())
                            .flat_map(|i| inside(w, x.shape.w()).map(move |j| (i, j)))
                            .map(|(i, j)| x.at(n, i, j, c))
                            .collect();
                        match pooled {
                            Pooled::Mean => values.iter().sum::<f64>() / values.len() as f64,
                            Pooled::Largest => values.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v)),
                        }
                    });
                    assert_close(&format!("{spec:?} of {shape:?} {element:?}"), &y, &twin, window * window);
                }
            }
        }
    }
}

#[test]
fn a_window_that_does_not_fit_is_refused() {
    let x = Array::zeros(Shape::new(1, 2, 2, 4)).f32(&gpus()[0]);
    for [window, stride, pad] in [[3, 1, 0], [0, 1, 0], [2, 0, 0], [2, 1, 2], [256, 1, 255]] {
        assert!(pool::forward(&x, &Pool { pooled: Pooled::Mean, window, stride, pad }).is_err());
    }
}
