use crate::support::*;
use tweedie::gpu::Element;
use tweedie::kernels::sde_step::{self, Factors, MAX_TERMS};
use tweedie::random::{Key, Purpose};
use tweedie::tensor::{Shape, Tensor};

fn twin(terms: &[Array], factors: &dyn Fn(usize) -> Factors, key: Key) -> Array {
    let shape = terms[0].shape;
    Array::from_fn(shape, |n, h, w, k| {
        let block = (h * shape.w() + w) * shape.c4() + k / 4;
        let z = f64::from(key.normal(n as u32, block as u32)[k % 4]);
        let sum: f64 = terms.iter().zip(factors(n).terms).map(|(x, a)| a * x.at(n, h, w, k)).sum();
        sum + factors(n).noise * z
    })
}

#[test]
fn a_step_matches_its_twin_with_any_number_of_terms_with_noise_and_without() {
    let key = Key::new(4, Purpose::Predictor).at(2).from(7);
    for gpu in gpus() {
        for element in elements(gpu) {
            for (shape, count, c) in [
                ([2, 3, 5, 3], 2, 0.75),
                ([1, 1, 1, 1], 1, 0.75),
                ([3, 4, 4, 8], 3, 0.0),
                ([3, 5, 1, 7], MAX_TERMS, 0.5),
            ] {
                let stored = |j: usize| if j == 0 { Element::F32 } else { element };
                let terms: Vec<Array> =
                    (0..count).map(|j| Array::random(Shape(shape), j as u16, stored(j))).collect();
                let tensors: Vec<Tensor> =
                    terms.iter().enumerate().map(|(j, x)| x.upload(gpu, stored(j))).collect();
                let factor = |n: usize, j: usize| 1.25 - 0.5 * j as f64 + 0.25 * n as f64;
                let of = |n: usize| {
                    Factors::new(&(0..count).map(|j| factor(n, j)).collect::<Vec<_>>(), c * (n + 1) as f64)
                };

                let shared: Vec<_> = tensors.iter().enumerate().map(|(j, x)| (x, factor(0, j))).collect();
                let y = sde_step::sde_step(&shared, (c != 0.0).then_some((c, key))).unwrap();
                assert_close(&format!("shared {count}"), &y, &twin(&terms, &|_| of(0), key), 1000);

                let all: Vec<Factors> = (0..shape[0]).map(of).collect();
                let y =
                    sde_step::sde_step_each(&tensors.iter().collect::<Vec<_>>(), &all, Some(key)).unwrap();
                assert_close(&format!("each {count}"), &y, &twin(&terms, &of, key), 1000);
            }
        }
    }
}

#[test]
fn terms_that_do_not_fit_are_refused() {
    let gpu = &gpus()[0];
    let zeros = |n| Array::zeros(Shape::new(n, 2, 2, 4)).f32(gpu);
    assert!(sde_step::sde_step(&[], None).is_err());
    assert!(sde_step::sde_step(&[(&zeros(1), 1.0), (&zeros(2), 1.0)], None).is_err());
    assert!(sde_step::sde_step(&[(&zeros(1), 1.0); MAX_TERMS + 1], None).is_err());
    assert!(sde_step::sde_step_each(&[&zeros(2)], &[Factors::default()], None).is_err());
    assert!(sde_step::sde_step_each(&[&zeros(1)], &[Factors::new(&[1.0], 0.5)], None).is_err());
}
