use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::langevin::{self, Langevin};
use tweedie::random::{Key, Purpose};
use tweedie::tensor::Shape;

fn twin(x: &Array, net: &Array, spec: Langevin, key: Key) -> Array {
    let shape = x.shape;
    let z = Array::from_fn(shape, |n, h, w, c| {
        let block = (h * shape.w() + w) * shape.c4() + c / 4;
        f64::from(key.normal(n as u32, block as u32)[c % 4])
    });
    let g = net.map(|v| spec.score_scale * v);
    let norms = |a: &Array| -> Vec<f64> {
        (0..shape.n()).map(|n| a.samples(n, 1)).map(|s| s.dot(&s).sqrt()).collect()
    };
    let (mut g_norm, mut z_norm) = (norms(&g), norms(&z));
    if spec.batch_norms {
        for norm in [&mut g_norm, &mut z_norm] {
            let mean = norm.iter().sum::<f64>() / norm.len() as f64;
            norm.fill(mean);
        }
    }
    Array::from_fn(shape, |n, h, w, c| {
        let eps = 2.0 * spec.alpha * (spec.snr * z_norm[n] / g_norm[n]).powi(2);
        x.at(n, h, w, c) + eps * g.at(n, h, w, c) + (2.0 * eps).sqrt() * z.at(n, h, w, c)
    })
}

#[test]
fn a_step_matches_its_twin_with_norms_of_the_sample_and_of_the_batch() {
    let key = Key::new(4, Purpose::Corrector(0)).at(2).from(7);
    for gpu in gpus() {
        for element in elements(gpu) {
            for (shape, batch_norms) in
                [([3, 5, 7, 3], false), ([3, 5, 7, 3], true), ([1, 1, 1, 1], false), ([2, 65, 63, 8], false)]
            {
                let shape = Shape(shape);
                let (x, net) = (Array::random(shape, 1, Element::F32), Array::random(shape, 2, element));
                let spec = Langevin { snr: 0.16, alpha: 0.9, score_scale: -1.7, batch_norms };
                let y = langevin::langevin(&x.f32(gpu), &net.upload(gpu, element), spec, key).unwrap();
                assert_close(&format!("{shape} {batch_norms}"), &y, &twin(&x, &net, spec, key), 1000);
            }
        }
    }
}

#[test]
fn a_score_of_zero_moves_nothing() {
    let gpu = &gpus()[0];
    let x = Array::random(Shape::new(2, 3, 3, 4), 1, Element::F32);
    let spec = Langevin { snr: 0.16, alpha: 1.0, score_scale: 1.0, batch_norms: false };
    let zero = Array::zeros(x.shape).f32(gpu);
    let y = langevin::langevin(&x.f32(gpu), &zero, spec, Key::new(1, Purpose::Corrector(0))).unwrap();
    assert_close("unmoved", &y, &x, 0);
}
