use crate::support::*;
use tweedie::kernels::heads;
use tweedie::tensor::Shape;

#[test]
fn heads_are_split_into_samples_and_merged_again() {
    for gpu in gpus() {
        for element in elements(gpu) {
            for (count, c) in [(1, 5), (2, 4), (3, 8), (5, 3), (4, 1), (2, 6)] {
                let x = Array::random(Shape::new(2, 3, 5, count * c), 1, element);
                let twin = Array::from_fn(Shape::new(2 * count, 3, 5, c), |n, h, w, k| {
                    x.at(n / count, h, w, n % count * c + k)
                });
                let what = format!("{count} heads of {c}");
                let y = heads::split(&x.upload(gpu, element), count).unwrap();
                assert_close(&what, &y, &twin, 0);
                assert_close(&what, &heads::merge(&y, count).unwrap(), &x, 0);
            }
        }
    }
}

#[test]
fn heads_that_do_not_divide_are_refused() {
    let x = Array::zeros(Shape::new(3, 1, 1, 8)).f32(&gpus()[0]);
    for count in [0, 3] {
        assert!(heads::split(&x, count).is_err());
    }
    for count in [0, 2] {
        assert!(heads::merge(&x, count).is_err());
    }
}
