use crate::support::*;
use tweedie::gpu::{Element, Gpu};
use tweedie::kernels::metropolis::metropolis;
use tweedie::random::{Key, Purpose};
use tweedie::tensor::{Shape, Tensor};

const KEY: Key = Key { seed: 4, purpose: Purpose::Acceptance(1), step: 2, first: 7 };

fn count(gpu: &Gpu, n: usize) -> Tensor {
    Tensor::zeros(gpu, Shape::vector(n)).unwrap()
}

#[test]
fn each_sample_is_chosen_as_its_twin_chooses() {
    for gpu in gpus() {
        for shape in [[3, 5, 7, 3], [1, 1, 1, 1], [64, 1, 1, 2], [7, 17, 16, 5]] {
            let shape = Shape(shape);
            let [x, y] = [1, 2].map(|seed| Array::random(shape, seed, Element::F32));
            let ratio = Array::random(Shape::new(shape.n(), 1, 1, 4), 3, Element::F32);
            let accepts = |n: usize| {
                let log: f64 = (0..4).map(|lane| ratio.at(n, 0, 0, lane)).sum();
                f64::from(KEY.uniform(n as u32, 0)[0]) < log.exp()
            };
            let twin = Array::from_fn(shape, |n, h, w, c| if accepts(n) { &y } else { &x }.at(n, h, w, c));
            let accepted = count(gpu, shape.n());
            for _ in 0..2 {
                let chosen = metropolis(&x.f32(gpu), &y.f32(gpu), &ratio.f32(gpu), &accepted, KEY).unwrap();
                assert_close(&format!("{shape}"), &chosen, &twin, 0);
            }
            let counts: Vec<f32> = (0..shape.n()).map(|n| if accepts(n) { 2.0 } else { 0.0 }).collect();
            assert_eq!(accepted.read().unwrap(), counts, "{shape}");
        }
    }
}

#[test]
fn what_is_certain_is_not_left_to_chance_and_what_has_diverged_is_rejected() {
    let shape = Shape::new(6, 3, 3, 3);
    let [x, y] = [1, 2].map(|seed| Array::random(shape, seed, Element::F32));
    let rows = [0.0, 1e30, -1e30, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let ratio = Array::from_fn(Shape::new(6, 1, 1, 4), |n, _, _, c| if c == 2 { rows[n] } else { 0.0 });
    for gpu in gpus() {
        let accepted = count(gpu, 6);
        let chosen = metropolis(&x.f32(gpu), &y.f32(gpu), &ratio.f32(gpu), &accepted, KEY).unwrap();
        let twin =
            Array::from_fn(shape, |n, h, w, c| if [0, 1, 3].contains(&n) { &y } else { &x }.at(n, h, w, c));
        assert_close("certain", &chosen, &twin, 0);
        assert_eq!(accepted.read().unwrap(), [1.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let gpu = &gpus()[0];
    let zeros = |n, c| Array::zeros(Shape::new(n, 1, 1, c)).f32(gpu);
    let (x, ratio) = (zeros(2, 3), zeros(2, 4));
    assert!(metropolis(&x, &zeros(1, 3), &ratio, &count(gpu, 2), KEY).is_err());
    assert!(metropolis(&x, &x, &zeros(2, 1), &count(gpu, 2), KEY).is_err());
    assert!(metropolis(&x, &x, &ratio, &count(gpu, 1), KEY).is_err());
}
