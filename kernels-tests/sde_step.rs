use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::sde_step::{self, Step};
use tweedie::random::{Key, Purpose};
use tweedie::tensor::Shape;

#[test]
fn a_step_matches_its_twin_with_noise_and_without() {
    let key = Key::new(4, Purpose::Predictor).at(2).from(7);
    for gpu in gpus() {
        for element in elements(gpu) {
            for (shape, c) in [([2, 3, 5, 3], 0.7), ([1, 1, 1, 1], 0.7), ([3, 4, 4, 8], 0.0)] {
                let shape = Shape(shape);
                let (x, net) = (Array::random(shape, 1, Element::F32), Array::random(shape, 2, element));
                let step = Step { a: 1.25, b: -0.5, c };
                let y = sde_step::sde_step(&x.f32(gpu), &net.upload(gpu, element), step, key).unwrap();
                let twin = Array::from_fn(shape, |n, h, w, k| {
                    let block = (h * shape.w() + w) * shape.c4() + k / 4;
                    let z = f64::from(key.normal(n as u32, block as u32)[k % 4]);
                    1.25 * x.at(n, h, w, k) - 0.5 * net.at(n, h, w, k) + f64::from(c as f32) * z
                });
                assert_close("step", &y, &twin, 1000);
            }
        }
    }
}
