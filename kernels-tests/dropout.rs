use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::dropout;
use tweedie::random::{Key, Purpose};
use tweedie::tensor::Shape;

#[test]
fn dropout_matches_its_twin_and_tangents_share_the_mask_of_their_primal() {
    let key = Key::new(5, Purpose::Dropout(2)).at(9).from(40);
    let rate = 0.3f32;
    for gpu in gpus() {
        for element in elements(gpu) {
            let x = Array::random(Shape::new(6, 3, 5, 7), 1, element);
            let y = dropout::dropout(&x.upload(gpu, element), rate, key, 2).unwrap();
            let twin = Array::from_fn(x.shape, |n, h, w, c| {
                let block = ((h * 5 + w) * 2 + c / 4) as u32;
                let kept = key.uniform(n as u32 % 2, block)[c % 4] >= rate;
                if kept { x.at(n, h, w, c) / (1.0 - f64::from(rate)) } else { 0.0 }
            });
            assert_close("dropout", &y, &twin, 1);
        }
    }
}

#[test]
fn as_many_are_dropped_as_the_rate_says() {
    let gpu = &gpus()[0];
    let x = Array::zeros(Shape::new(4, 64, 64, 8)).map(|_| 1.0);
    let y = dropout::dropout(&x.f32(gpu), 0.1, Key::new(1, Purpose::Dropout(0)), 4).unwrap().read().unwrap();
    let dropped = y.iter().filter(|v| **v == 0.0).count() as f64 / y.len() as f64;
    // Five standard errors.
    assert!((dropped - 0.1).abs() < 5.0 * (0.1 * 0.9 / y.len() as f64).sqrt(), "{dropped}");
}

#[test]
fn a_rate_of_one_is_refused() {
    let x = Array::random(Shape::vector(4), 1, Element::F32).f32(&gpus()[0]);
    assert!(dropout::dropout(&x, 1.0, Key::new(1, Purpose::Dropout(0)), 1).is_err());
}
