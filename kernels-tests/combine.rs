use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::combine::{Factor, Form};
use tweedie::random::{Key, Purpose};
use tweedie::tensor::{Shape, Tensor};

/// The most tensors of one launch.
const LAUNCH: usize = 8;

fn twin(terms: &[Array], factor: &dyn Fn(usize, usize) -> f64, noise: &[(f64, Key)]) -> Array {
    Array::from_fn(terms[0].shape, |n, h, w, k| {
        let shape = terms[0].shape;
        let block = (h * shape.w() + w) * shape.c4() + k / 4;
        let z = |key: Key| f64::from(key.normal(n as u32, block as u32)[k % 4]);
        let sum: f64 = terms.iter().enumerate().map(|(j, x)| factor(n, j) * x.at(n, h, w, k)).sum();
        sum + noise.iter().map(|(c, key)| c * (n + 1) as f64 * z(*key)).sum::<f64>()
    })
}

#[test]
fn a_form_matches_its_twin_with_any_number_of_terms_with_noise_and_without() {
    let keys = [Purpose::Predictor, Purpose::Increment].map(|purpose| Key::new(4, purpose).at(2).from(7));
    for gpu in gpus() {
        for element in elements(gpu) {
            for (shape, count, c) in [
                ([2, 3, 5, 3], 2, vec![0.75]),
                ([1, 1, 1, 1], 1, vec![0.75]),
                ([3, 4, 4, 8], 3, vec![]),
                ([3, 5, 1, 7], LAUNCH, vec![0.5]),
                ([2, 2, 3, 4], LAUNCH + 1, vec![0.5, 0.25]),
                ([2, 2, 3, 4], 2 * LAUNCH + 3, vec![]),
            ] {
                // The first term is f32: in later launches it is the partial sum.
                let stored = |j: usize| if j == 0 { Element::F32 } else { element };
                let terms: Vec<Array> =
                    (0..count).map(|j| Array::random(Shape(shape), j as u16, stored(j))).collect();
                let tensors: Vec<Tensor> =
                    terms.iter().enumerate().map(|(j, x)| x.upload(gpu, stored(j))).collect();
                let noise: Vec<(f64, Key)> = c.into_iter().zip(keys).collect();
                let factor = |n: usize, j: usize| 1.25 - 0.5 * j as f64 + 0.25 * n as f64;
                let form = |of: &dyn Fn(usize) -> Factor, noise: &[(Factor, Key)]| {
                    let terms = tensors.iter().enumerate().fold(Form::default(), |f, (j, x)| f + x * of(j));
                    noise.iter().fold(terms, |f, (c, key)| f + Form::normal(*key) * c).run().unwrap()
                };

                let n = shape[0];
                let each = |f: &dyn Fn(usize) -> f64| Factor::Each((0..n).map(f).collect());
                let drawn: Vec<(Factor, Key)> =
                    noise.iter().map(|(c, key)| (each(&|n| c * (n + 1) as f64), *key)).collect();
                let y = form(&|j| each(&|n| factor(n, j)), &drawn);
                assert_close(&format!("each {count}"), &y, &twin(&terms, &factor, &noise), 1000);

                let one = &terms.iter().map(|x| x.samples(0, 1)).collect::<Vec<_>>();
                let drawn: Vec<(Factor, Key)> = noise.iter().map(|(c, key)| ((*c).into(), *key)).collect();
                let y = form(&|j| factor(0, j).into(), &drawn);
                let expected = twin(one, &factor, &noise);
                let first = tweedie::kernels::layout::samples(&y, 0, 1).unwrap();
                assert_close(&format!("all {count}"), &first, &expected, 1000);
            }
        }
    }
}

#[test]
fn like_terms_are_merged_and_factors_of_samples_repeat_over_a_stack() {
    let gpu = &gpus()[0];
    let array = Array::random(Shape([4, 1, 1, 4]), 0, Element::F32);
    let x = array.f32(gpu);
    let same = (&x * 3.0 - &x * 2.0).run().unwrap();
    assert!(same.is_same(&x), "1 x is x itself");
    let stacked = (&x * vec![2.0, -1.0]).run().unwrap().read().unwrap();
    let expected: Vec<f32> = x
        .read()
        .unwrap()
        .chunks(8)
        .flat_map(|pair| {
            [
                2.0 * pair[0],
                2.0 * pair[1],
                2.0 * pair[2],
                2.0 * pair[3],
                -pair[4],
                -pair[5],
                -pair[6],
                -pair[7],
            ]
        })
        .collect();
    assert_eq!(stacked, expected);
    let key = Key::new(1, Purpose::Predictor);
    let cancelled = (&x + Form::normal(key) - Form::normal(key)).run().unwrap();
    assert!(cancelled.is_same(&x), "z - z is nothing");
}

#[test]
fn terms_that_do_not_fit_are_refused() {
    let gpu = &gpus()[0];
    let zeros = |n| Array::zeros(Shape::new(n, 2, 2, 4)).f32(gpu);
    assert!(Form::default().run().is_err());
    assert!(Form::normal(Key::new(4, Purpose::Predictor)).run().is_err());
    assert!((&zeros(1) + &zeros(2)).run().is_err());
    assert!((&zeros(2) * vec![1.0, 2.0, 3.0]).run().is_err());
    assert!((&zeros(2) * Vec::new()).run().is_err());
}
