use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::impute::impute;
use tweedie::random::{Key, Purpose};
use tweedie::sde::Marginal;
use tweedie::tensor::Shape;

fn twin(x: &Array, known: &Array, mask: &Array, at: Marginal, key: Key) -> Array {
    Array::from_fn(x.shape, |n, h, w, k| {
        if mask.at(n % mask.shape.n(), h, w, k) == 0.0 {
            return x.at(n, h, w, k);
        }
        let block = (h * x.shape.w() + w) * x.shape.c4() + k / 4;
        let z = f64::from(key.normal(n as u32, block as u32)[k % 4]);
        at.mean * known.at(n % known.shape.n(), h, w, k) + at.std * z
    })
}

/// Random zeros and ones.
fn random_mask(shape: Shape) -> Array {
    Array::random(shape, 3, Element::F32).map(|v| f64::from(v > 0.0))
}

#[test]
fn the_known_is_put_in_with_noise_and_the_rest_is_left() {
    let key = Key::new(4, Purpose::Constraint(1)).at(2).from(7);
    for gpu in gpus() {
        for (shape, known, masks) in
            [([2, 3, 5, 3], 1, 2), ([1, 1, 1, 1], 1, 1), ([6, 4, 4, 8], 6, 1), ([4, 5, 1, 7], 2, 1)]
        {
            let shape = Shape(shape);
            let x = Array::random(shape, 1, Element::F32);
            let known = Array::random(shape.with_n(known), 2, Element::F32);
            let mask = random_mask(shape.with_n(masks));
            let run = |at| impute(&x.f32(gpu), &known.f32(gpu), &mask.f32(gpu), at, key).unwrap();
            let at = Marginal { mean: 0.75, std: 1.5 };
            assert_close(&format!("{shape}"), &run(at), &twin(&x, &known, &mask, at, key), 1000);
            // Without noise the result is exact.
            let at = Marginal { mean: 1.0, std: 0.0 };
            let exact: Vec<f32> = twin(&x, &known, &mask, at, key).values.iter().map(|v| *v as f32).collect();
            assert_eq!(run(at).read().unwrap(), exact);
        }
    }
}

#[test]
fn known_values_and_masks_that_do_not_fit_are_refused() {
    let gpu = &gpus()[0];
    let zeros = |n, c| Array::zeros(Shape::new(n, 2, 2, c)).f32(gpu);
    let key = Key::new(0, Purpose::Constraint(0));
    let at = Marginal { mean: 1.0, std: 0.0 };
    let refused = |x: &_, known: &_, mask: &_| impute(x, known, mask, at, key).is_err();
    assert!(refused(&zeros(3, 4), &zeros(2, 4), &zeros(1, 4)));
    assert!(refused(&zeros(3, 4), &zeros(1, 4), &zeros(1, 3)));
    assert!(!refused(&zeros(3, 4), &zeros(1, 4), &zeros(3, 4)));
}
