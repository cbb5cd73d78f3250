use crate::support::*;
use bytemuck::Zeroable;
use tweedie::gpu::{Element, Gpu};
use tweedie::kernels::random::Noise;
use tweedie::kernels::score_matching::{self, Coefficients, Slice};
use tweedie::random::{Key, Purpose};
use tweedie::tensor::Shape;

fn coefficients(n: usize) -> Vec<Coefficients> {
    (0..n)
        .map(|i| {
            let k = i as f32;
            Coefficients {
                mean: 1.0 - 0.1 * k,
                std: 0.5 + k,
                scale: 2.0 - 0.5 * k,
                of_z: 1.0 - 0.3 * k,
                of_x0: 0.4 * k,
                weight: 0.25 * (k + 1.0),
                // Some samples are decoded: levels of [−1, 1] and of [0, 1], bins narrow and wide.
                bin: if i % 2 == 1 { 0.2 * k * k } else { 0.0 },
                low: if i == 1 { -1.0 } else { 0.0 },
            }
        })
        .collect()
}

/// The noise of a key.
fn drawn(key: Key, shape: Shape) -> Array {
    Array::from_fn(shape, |n, h, w, c| {
        let block = (h * shape.w() + w) * shape.c4() + c / 4;
        f64::from(key.normal(n as u32, block as u32)[c % 4])
    })
}

/// −log of the mass of N(x₀ + r, 1) on the level of x₀, and its derivative in r.
fn decoded(x0: f64, r: f64, bin: f64, low: f64) -> (f64, f64) {
    let half = (1.0 - low) / 510.0;
    let a = if x0 < low + half { f64::NEG_INFINITY } else { -bin - r };
    let b = if x0 > 1.0 - half { f64::INFINITY } else { bin - r };
    let tail = |x: f64| 0.5 * libm::erfc(x * std::f64::consts::FRAC_1_SQRT_2);
    let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    let mass = if a > 0.0 { tail(a) - tail(b) } else { tail(-b) - tail(-a) };
    (-mass.ln(), (density(b) - density(a)) / mass)
}

#[test]
fn perturbation_loss_and_gradient_match_their_twins() {
    let key = Key::new(8, Purpose::Perturbation).at(3).from(64);
    for gpu in gpus() {
        for shape in [[4, 5, 7, 3], [1, 1, 1, 1], [4, 8, 8, 1], [2, 9, 9, 6]].map(Shape) {
            for element in elements(gpu) {
                let c = coefficients(shape.n());
                let z = Array::random(shape, 3, Element::F32);
                let given = z.f32(gpu);
                for (noise, z) in [(Noise::Given(&given), z), (Noise::Drawn(key), drawn(key, shape))] {
                    // Beyond [−1, 1] as well: the outermost levels.
                    let x0 = Array::random(shape, 1, Element::F32);
                    let tx0 = x0.f32(gpu);
                    let tc = score_matching::upload(gpu, &c).unwrap();
                    let x = score_matching::perturb(&tx0, noise, &tc).unwrap();
                    let twin = Array::from_fn(shape, |n, h, w, k| {
                        f64::from(c[n].mean) * x0.at(n, h, w, k) + f64::from(c[n].std) * z.at(n, h, w, k)
                    });
                    assert_close("perturb", &x, &twin, 1000);

                    let out = Array::random(shape, 2, element);
                    let (loss, dout) =
                        score_matching::denoising(&out.upload(gpu, element), &tx0, noise, &tc).unwrap();
                    let local = |n: usize, h, w, k| {
                        let c = c[n];
                        let r = f64::from(c.scale) * out.at(n, h, w, k)
                            + f64::from(c.of_z) * z.at(n, h, w, k)
                            + f64::from(c.of_x0) * x0.at(n, h, w, k);
                        match c.bin > 0.0 {
                            true => decoded(x0.at(n, h, w, k), r, c.bin.into(), c.low.into()),
                            false => (r * r, 2.0 * r),
                        }
                    };
                    let gradient = Array::from_fn(shape, |n, h, w, k| {
                        f64::from(c[n].weight) * f64::from(c[n].scale) * local(n, h, w, k).1
                    });
                    assert_close("gradient", &dout, &gradient, 1000);
                    let losses =
                        Array::from_fn(shape, |n, h, w, k| f64::from(c[n].weight) * local(n, h, w, k).0);
                    assert_total(&loss, losses.values.iter().sum(), shape);
                }
            }
        }
    }
}

#[test]
fn the_decoder_keeps_its_precision_in_the_tails() {
    // One pixel that the mean misses by up to 30 standard deviations, in bins from 0.001 to 10 standard
    // deviations.
    let decode = |gpu: &Gpu, level: f32, miss: f32, bin: f32| {
        let c = Coefficients { scale: 1.0, weight: 1.0, bin, low: -1.0, ..Zeroable::zeroed() };
        let tensor = |v: f32| Array { shape: Shape::new(1, 1, 1, 1), values: vec![v.into()] }.f32(gpu);
        let coefficients = score_matching::upload(gpu, &[c]).unwrap();
        let noise = tensor(0.0);
        let (loss, slope) =
            score_matching::denoising(&tensor(miss), &tensor(level), Noise::Given(&noise), &coefficients)
                .unwrap();
        let loss: f64 = loss.read().unwrap().iter().map(|v| f64::from(*v)).sum();
        (loss, f64::from(slope.read().unwrap()[0]))
    };
    for gpu in gpus() {
        for bin in [1e-3f32, 0.04, 0.4, 10.0] {
            for miss in [-30.0f32, -5.0, -0.3, 0.0, 0.1, 2.0, 12.0, 30.0] {
                for level in [-1.0f32, 0.2, 1.0] {
                    let (loss, slope) = decode(gpu, level, miss, bin);
                    let (value, derivative) = decoded(level.into(), miss.into(), bin.into(), -1.0);
                    let at = format!("bin {bin}, {miss} from {level}");
                    // The mass of a narrow bin is a difference, so its rounding error grows as the bin
                    // shrinks.
                    let rounding = 1e-6 / f64::from(bin).min(1.0);
                    assert!((loss - value).abs() < 1e-5 * value + rounding, "{at}: {loss} is not {value}");
                    let scale = 1.0 + derivative.abs();
                    assert!(
                        (slope - derivative).abs() < rounding * scale + 1e-5,
                        "{at}: {slope} is not {derivative}"
                    );
                }
            }
        }
        // Where the mass underflows in f32, its logarithm does not.
        let (loss, slope) = decode(gpu, 0.2, 1000.0, 0.4);
        assert!(
            (loss - 0.5 * 999.6f64.powi(2)).abs() < 10.0 && (slope - 999.6).abs() < 1.0,
            "{loss} {slope}"
        );
    }
}

#[test]
fn the_sliced_loss_and_its_gradient_match_their_twins() {
    let slice = |i: usize| {
        let k = i as f32;
        Slice { x: -0.3 * k, net: 1.0 - 0.4 * k, tangent: 0.7 + k, weight: 0.5 + 0.1 * k }
    };
    for gpu in gpus() {
        for shape in [[3, 5, 7, 3], [1, 1, 1, 1], [4, 8, 8, 1], [2, 9, 9, 6]].map(Shape) {
            for element in elements(gpu) {
                let n = shape.n();
                let c: Vec<Slice> = (0..n).map(slice).collect();
                let (x, v) = (Array::random(shape, 1, Element::F32), Array::random(shape, 2, Element::F32));
                let stack = Array::random(shape.with_n(2 * n), 3, element);
                let tc = score_matching::upload(gpu, &c).unwrap();
                let (loss, dstack) =
                    score_matching::sliced(&stack.upload(gpu, element), &x.f32(gpu), &v.f32(gpu), &tc)
                        .unwrap();
                let factors = |i: usize| [c[i].x, c[i].net, c[i].tangent, c[i].weight].map(f64::from);
                let score = |i: usize, h, w, k| {
                    factors(i)[0] * x.at(i, h, w, k) + factors(i)[1] * stack.at(i, h, w, k)
                };
                let gradient = Array::from_fn(shape.with_n(2 * n), |i, h, w, k| {
                    let [_, net, tangent, weight] = factors(i % n);
                    match i < n {
                        true => 2.0 * weight * net * score(i, h, w, k),
                        false => 2.0 * weight * tangent * v.at(i - n, h, w, k),
                    }
                });
                assert_close("gradient", &dstack, &gradient, 1000);
                let losses = Array::from_fn(shape, |i, h, w, k| {
                    let [x_factor, _, tangent, weight] = factors(i);
                    let jv = x_factor * v.at(i, h, w, k) + tangent * stack.at(n + i, h, w, k);
                    weight * (score(i, h, w, k).powi(2) + 2.0 * v.at(i, h, w, k) * jv)
                });
                let scale: f64 = losses.values.iter().map(|v| v.abs()).sum();
                let lanes: f64 = loss.read().unwrap().iter().map(|v| f64::from(*v)).sum();
                let total: f64 = losses.values.iter().sum();
                assert!((lanes - total).abs() <= 1e-5 * scale, "{shape}: {lanes} is not {total}");
            }
        }
    }
}

fn assert_total(loss: &tweedie::tensor::Tensor, total: f64, shape: Shape) {
    let lanes: f64 = loss.read().unwrap().iter().map(|v| f64::from(*v)).sum();
    assert!((lanes - total).abs() <= 1e-5 * total, "{shape}: {lanes} is not {total}");
}
