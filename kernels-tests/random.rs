use crate::support::*;
use tweedie::kernels::random::{self, Distribution};
use tweedie::random::{Key, Purpose};
use tweedie::tensor::Shape;

fn key() -> Key {
    Key::new(0x1234_5678_9abc_def0, Purpose::Corrector(3)).at(17).from(1000)
}

#[test]
fn philox_is_bit_equal_to_its_twin() {
    for gpu in gpus() {
        let words = random::bits(gpu, 5, 77, key()).unwrap();
        let twin: Vec<u32> = (0..5).flat_map(|s| (0..77).flat_map(move |b| key().bits(s, b))).collect();
        assert_eq!(words, twin);
    }
}

#[test]
fn every_distribution_matches_its_twin_and_leaves_padding_zero() {
    for gpu in gpus() {
        let shape = Shape::new(3, 5, 7, 6);
        let draw = |f: fn(Key, u32, u32) -> [f32; 4], scale: f64, shift: f64| {
            Array::from_fn(shape, |n, h, w, c| {
                let block = (h * 7 + w) * 2 + c / 4;
                scale * f64::from(f(key(), n as u32, block as u32)[c % 4]) + shift
            })
        };
        let fill = |distribution| random::fill(gpu, shape, key(), distribution).unwrap();
        let uniform = fill(Distribution::Uniform { low: -1.0, high: 3.0 });
        assert_close("uniform", &uniform, &draw(Key::uniform, 4.0, -1.0), 1);
        let normal = fill(Distribution::Normal { std: 0.5 });
        // log, sin and cos are the driver's.
        assert_close("normal", &normal, &draw(Key::normal, 0.5, 0.0), 1000);
        assert_close("rademacher", &fill(Distribution::Rademacher), &draw(Key::rademacher, 1.0, 0.0), 0);
    }
}

#[test]
fn a_sample_depends_on_its_number_and_not_on_its_batch() {
    let gpu = &gpus()[0];
    let shape = Shape::new(16, 4, 4, 3);
    let normal = Distribution::Normal { std: 1.0 };
    let key = Key::new(3, Purpose::Prior);
    let whole = random::fill(gpu, shape, key, normal).unwrap().read().unwrap();
    let part = random::fill(gpu, shape.with_n(8), key.from(8), normal).unwrap().read().unwrap();
    assert_eq!(whole[whole.len() / 2..], part);
}
