use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::hutchinson::{self, Probe, Probes};
use tweedie::kernels::random::Noise;
use tweedie::random::{Key, Purpose};
use tweedie::tensor::Shape;

#[test]
fn probes_are_stacked_and_contracted_as_their_twin_does() {
    let key = Key::new(4, Purpose::Probe).from(7);
    for gpu in gpus() {
        for (shape, count) in [([2, 3, 5, 3], 1), ([3, 1, 1, 2], 4), ([1, 17, 16, 5], 2)] {
            let shape = Shape(shape);
            let all = shape.with_n(count * shape.n());
            let drawn = |f: fn(Key, u32, u32) -> [f32; 4]| {
                Array::from_fn(all, |r, h, w, c| {
                    let block = (h * shape.w() + w) * shape.c4() + c / 4;
                    let (probe, sample) = (r / shape.n(), r % shape.n());
                    f64::from(f(key.at(probe as u32), sample as u32, block as u32)[c % 4])
                })
            };
            let given = Array::random(all, 3, Element::F32);
            let on_device = given.f32(gpu);
            for (kind, noise, eps) in [
                (Probe::Rademacher, Noise::Drawn(key), drawn(Key::rademacher)),
                (Probe::Gaussian, Noise::Drawn(key), drawn(Key::normal)),
                (Probe::Gaussian, Noise::Given(&on_device), given.clone()),
            ] {
                let probes = Probes { count, kind, noise };
                let x = Array::random(shape, 1, Element::F32);
                let stack = hutchinson::seed(&x.f32(gpu), probes).unwrap();
                let mut twin = x.clone();
                twin.shape = shape.with_n((1 + count) * shape.n());
                twin.values.extend(&eps.values);
                assert_close("seed", &stack, &twin, 1000);

                for element in elements(gpu) {
                    let image = Array::random(twin.shape, 2, element);
                    let sums =
                        hutchinson::contract(&image.upload(gpu, element), probes).unwrap().read().unwrap();
                    for (r, lanes) in sums.chunks(4).enumerate() {
                        let (e, j) = (eps.samples(r, 1), image.samples(shape.n() + r, 1));
                        let sum: f64 = lanes.iter().map(|v| f64::from(*v)).sum();
                        let scale = (e.dot(&e) * j.dot(&j)).sqrt();
                        assert!((sum - e.dot(&j)).abs() <= 1e-5 * scale, "{r}: {sum} is not {}", e.dot(&j));
                    }
                }
            }
        }
    }
}
