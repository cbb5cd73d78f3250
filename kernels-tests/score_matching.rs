use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::random::Noise;
use tweedie::kernels::score_matching::{self, Coefficients};
use tweedie::random::{Key, Purpose};
use tweedie::tensor::Shape;

fn coefficients(n: usize) -> Vec<Coefficients> {
    (0..n)
        .map(|i| {
            let i = i as f32;
            Coefficients { mean: 1.0 - 0.1 * i, std: 0.5 + i, scale: 2.0 - 0.5 * i, weight: 0.25 * (i + 1.0) }
        })
        .collect()
}

/// The noise that a key stands for.
fn drawn(key: Key, shape: Shape) -> Array {
    Array::from_fn(shape, |n, h, w, c| {
        let block = (h * shape.w() + w) * shape.c4() + c / 4;
        f64::from(key.normal(n as u32, block as u32)[c % 4])
    })
}

#[test]
fn perturbation_loss_and_gradient_match_their_twins() {
    let key = Key::new(8, Purpose::Perturbation).at(3).from(64);
    for gpu in gpus() {
        for shape in [[3, 5, 7, 3], [1, 1, 1, 1], [4, 8, 8, 1], [2, 9, 9, 6]].map(Shape) {
            for element in elements(gpu) {
                let c = coefficients(shape.n());
                let z = Array::random(shape, 3, Element::F32);
                let given = z.f32(gpu);
                for (noise, z) in [(Noise::Given(&given), z), (Noise::Drawn(key), drawn(key, shape))] {
                    let x0 = Array::random(shape, 1, Element::F32);
                    let tx0 = x0.f32(gpu);
                    let tc = score_matching::upload(&tx0, &c).unwrap();
                    let x = score_matching::perturb(&tx0, noise, &tc).unwrap();
                    let twin = Array::from_fn(shape, |n, h, w, k| {
                        f64::from(c[n].mean) * x0.at(n, h, w, k) + f64::from(c[n].std) * z.at(n, h, w, k)
                    });
                    assert_close("perturb", &x, &twin, 1000);

                    let out = Array::random(shape, 2, element);
                    let (loss, dout) = score_matching::loss(&out.upload(gpu, element), noise, &tc).unwrap();
                    let residual =
                        |n: usize, h, w, k| f64::from(c[n].scale) * out.at(n, h, w, k) + z.at(n, h, w, k);
                    let gradient = Array::from_fn(shape, |n, h, w, k| {
                        2.0 * f64::from(c[n].weight) * f64::from(c[n].scale) * residual(n, h, w, k)
                    });
                    assert_close("gradient", &dout, &gradient, 1000);
                    let total: f64 = Array::from_fn(shape, |n, h, w, k| {
                        f64::from(c[n].weight) * residual(n, h, w, k).powi(2)
                    })
                    .values
                    .iter()
                    .sum();
                    let lanes: f64 = loss.read().unwrap().iter().map(|v| f64::from(*v)).sum();
                    assert!((lanes - total).abs() <= 1e-5 * total, "{shape}: {lanes} is not {total}");
                }
            }
        }
    }
}
