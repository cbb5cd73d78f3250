//! Conditional sampling, compared with posteriors in closed form.

use crate::distributions::{Component, Mixture, diffused};
use crate::support::gpu;
use tweedie::config::{CorrectorName, Over, Sampling};
use tweedie::random::{Key, Purpose};
use tweedie::sample::{
    Adjoint, Constrained, Draw, Guidance, Guided, Impute, LinearSystem, Mask, Matrix, Measurement, Operator,
    Particles, PredictorCorrector, Resampling, Result, Sampler, feasible, solve,
};
use tweedie::sde::{Process, SubVp, Ve, Vp};
use tweedie::tensor::{Shape, Tensor};

const PROCESSES: [&dyn Process; 3] = [
    &Ve { sigma_min: 0.01, sigma_max: 5.0 },
    &Vp { beta_min: 0.1, beta_max: 20.0 },
    &SubVp { beta_min: 0.1, beta_max: 20.0 },
];

fn random(shape: Shape, seed: u16) -> Tensor {
    let key = Key::new(9, Purpose::Other(seed));
    let values: Vec<f32> = (0..shape.len().div_ceil(4) as u32).flat_map(|i| key.normal(0, i)).collect();
    Tensor::from_slice(gpu(), shape, &values[..shape.len()]).expect("an upload")
}

fn read(x: &Tensor) -> Vec<f64> {
    x.read().expect("a download").into_iter().map(f64::from).collect()
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    read(a).iter().zip(read(b)).map(|(a, b)| a * b).sum()
}

/// Every kind of operator, on images of one size.
fn operators(input: Shape) -> Vec<(&'static str, Box<dyn Operator>)> {
    let gpu = gpu();
    let mask: Vec<f32> = (0..input.len()).map(|i| f32::from(u8::from(i * i % 3 == 1))).collect();
    let rows = read(&random(Shape::new(5, 1, 1, input.len()), 3));
    vec![
        ("mean", Box::new(Resampling::mean(input, 4).expect("squares"))),
        ("blur", Box::new(Resampling::blur(input, &[0.1, 0.2, 0.4, 0.2, 0.1]).expect("a blur"))),
        ("skewed blur", Box::new(Resampling::blur(input, &[0.7, 0.2, 0.1]).expect("a blur"))),
        ("mask", Box::new(Mask::new(gpu, input, &mask).expect("a mask"))),
        ("projection", Box::new(Matrix::random(gpu, input, 7, 1).expect("a projection"))),
        ("matrix", Box::new(Matrix::new(gpu, input, &rows).expect("a matrix"))),
    ]
}

#[test]
fn every_operators_adjoint_and_gram_matrix_are_right() {
    for c in [1, 3, 5] {
        let input = Shape::new(1, 8, 12, c);
        for (name, a) in operators(input) {
            let (x, y) = (random(input.with_n(2), 1), random(a.output().with_n(2), 2));
            let (ax, aty) = (a.apply(&x).expect("A x"), a.adjoint(&y).expect("A' y"));
            let (left, right) = (dot(&ax, &y), dot(&x, &aty));
            let scale = dot(&ax, &ax).sqrt() * dot(&y, &y).sqrt();
            assert!((left - right).abs() < 1e-5 * scale, "{name} {c}: {left} and {right}");
            if let Some(gram) = a.gram() {
                let y = a.measured(y).expect("y");
                let back = a.apply(&a.adjoint(&y).expect("A' y")).expect("A A' y");
                for (b, y) in read(&back).iter().zip(read(&y)) {
                    assert!((b - gram * y).abs() < 1e-5, "{name} {c}: {b}, not {gram} times {y}");
                }
            }
        }
    }
}

#[test]
fn a_measurement_is_unchanged_by_the_range_of_pictures() {
    let input = Shape::new(1, 8, 12, 1);
    // A third of the pixels black, a third white, all with an error of a twentieth.
    let images: Vec<f32> =
        read(&random(input.with_n(3), 4)).iter().map(|v| v.clamp(-0.4, 0.4) as f32).collect();
    let off = read(&random(input.with_n(3), 5));
    let drawn: Vec<f32> = images.iter().zip(&off).map(|(x, z)| 1.25 * x + 0.5 + 0.05 * *z as f32).collect();
    let of =
        |values: &[f32], n: usize| Tensor::from_slice(gpu(), input.with_n(n), values).expect("an upload");
    let cut: Vec<f32> = drawn.iter().map(|v| v.clamp(0.0, 1.0)).collect();
    let distance = |a: &dyn Operator, x: &Tensor, y: &Tensor| {
        let off: f64 =
            read(&a.apply(x).expect("A x")).iter().zip(read(y)).map(|(a, b)| (a - b).powi(2)).sum();
        // A mask measures a third of the elements; the others are zero in both measurements.
        (off / read(y).iter().filter(|v| **v != 0.0).count() as f64).sqrt()
    };
    for (name, a) in operators(input) {
        let moved = |x: &Tensor, y: &Tensor, noise_std: f64| {
            let measurement = Measurement { operator: &*a, y: y.clone(), noise_std };
            feasible(&measurement, x, (0.0, 1.0)).expect("images")
        };
        // Within the noise of the given measurement, the sample's own measurement is kept.
        let (x, cut) = (of(&drawn, 3), of(&cut, 3));
        let y = a.apply(&x).expect("A x");
        let kept = moved(&x, &y, 0.02);
        assert!(read(&kept).iter().all(|v| (0.0..=1.0).contains(v)), "{name}");
        let (before, after) = (distance(&*a, &cut, &y), distance(&*a, &kept, &y));
        match name {
            // A pixel measured outside the range cannot lie inside it.
            "mask" => assert_eq!(read(&kept), read(&cut), "{name}"),
            // An invertible blur determines the image.
            "blur" | "skewed blur" => assert!(after < before, "{name}: {after}, before {before}"),
            _ => assert!(after < 0.02 * before, "{name}: {after}, before {before}"),
        }
        // A sample further away is moved to the noise level, and without noise to the measurement.
        let images: Vec<f32> = images.iter().map(|x| 1.25 * x + 0.5).collect();
        let y = a.apply(&of(&images, 3)).expect("A x");
        assert!(distance(&*a, &x, &y) > 0.005, "{name}");
        for noise_std in [0.005, 0.0] {
            let after = distance(&*a, &moved(&x, &y, noise_std), &y);
            assert!(after < 1.02 * noise_std + 5e-4, "{name}: {after}, noise {noise_std}");
        }
        // Each sample is moved independently, and a second call changes nothing.
        let own = a.apply(&of(&drawn[..input.len()], 1)).expect("A x");
        let alone = moved(&of(&drawn[..input.len()], 1), &own, 0.02);
        assert_eq!(read(&alone), read(&kept)[..input.len()], "{name}");
        let there = a.apply(&kept).expect("A x");
        assert_eq!(read(&moved(&kept, &there, 0.02)), read(&kept), "{name}");
    }
}

#[test]
fn systems_are_solved_each_sample_on_its_own() {
    let input = Shape::new(1, 8, 12, 3);
    let systems = [(0.7, 0.01), (20.0, 0.5), (1.0, 1e-3)].map(|(gram, ridge)| LinearSystem { gram, ridge });
    for (name, a) in operators(input) {
        let y = a.measured(random(a.output().with_n(3), 4)).expect("y");
        let z = solve(&*a, &y, &systems).expect("a solution");
        let image = read(&a.apply(&a.adjoint(&z).expect("A' z")).expect("A A' z"));
        let (z, y) = (read(&z), read(&y));
        let m = a.output().len();
        for (i, LinearSystem { gram, ridge }) in systems.into_iter().enumerate() {
            let of = |k: usize| gram * image[k] + ridge * z[k] - y[k];
            let error: f64 = (i * m..(i + 1) * m).map(|k| of(k).powi(2)).sum();
            let scale: f64 = y[i * m..(i + 1) * m].iter().map(|v| v * v).sum();
            assert!(error < 1e-8 * scale, "{name}, sample {i}: {error:e} of {scale:e}");
        }
        // A sample does not depend on its batch.
        let last = Tensor::from_slice(
            gpu(),
            a.output(),
            &y[2 * m..].iter().map(|v| *v as f32).collect::<Vec<f32>>(),
        );
        let alone = read(&solve(&*a, &last.expect("y"), &systems[2..]).expect("a solution"));
        assert_eq!(alone, z[2 * m..], "{name}");
    }
}

/// A predictor–corrector sampler with `steps` steps. The Langevin step's norms are means over the batch: in
/// two dimensions a sample's own norm is often near 0, and its step unbounded.
fn sampler(corrector: CorrectorName, steps: usize) -> PredictorCorrector {
    let config = Sampling { corrector, snr: 0.1, langevin_norms: Over::Batch, ..Sampling::default() };
    PredictorCorrector::new(&config, steps).expect("a sampler")
}

/// Mean and covariance of points of two dimensions: m₀, m₁, c₀₀, c₀₁, c₁₁.
fn moments(x: &[f64]) -> [f64; 5] {
    let n = (x.len() / 2) as f64;
    let mean = |f: &dyn Fn(&[f64]) -> f64| x.chunks(2).map(f).sum::<f64>() / n;
    let (a, b) = (mean(&|x| x[0]), mean(&|x| x[1]));
    let product = |i: usize, j: usize| mean(&|x| (x[i] - [a, b][i]) * (x[j] - [a, b][j]));
    [a, b, product(0, 0), product(0, 1), product(1, 1)]
}

/// The posterior of a Gaussian N(μ, v I) of two dimensions given aᵀ x + n = y with noise n of standard
/// deviation `noise_std`, as in [`moments`].
fn posterior(mu: [f64; 2], v: f64, a: [f64; 2], y: f64, noise_std: f64) -> [f64; 5] {
    let total = v * (a[0] * a[0] + a[1] * a[1]) + noise_std * noise_std;
    let gain = [v * a[0] / total, v * a[1] / total];
    let off = y - a[0] * mu[0] - a[1] * mu[1];
    let covariance = |i: usize, j: usize| f64::from(u8::from(i == j)) * v - gain[i] * a[j] * v;
    let mean = |i: usize| mu[i] + gain[i] * off;
    [mean(0), mean(1), covariance(0, 0), covariance(0, 1), covariance(1, 1)]
}

/// Moments of samples of N((0.4, −0.2), 0.25 I) given 0.6 x₀ + 0.8 x₁ + n = 0.5, the moments of the exact
/// posterior, and the standard errors.
fn guided(
    process: &'static dyn Process,
    guidance: impl Fn(&dyn Adjoint) -> Guidance<'_>,
    noise_std: f64,
    n: usize,
    steps: usize,
) -> Result<[[f64; 5]; 3]> {
    let (mu, v, a, y) = ([0.4, -0.2], 0.25, [0.6, 0.8], 0.5);
    let component = Component { weight: 1.0, mean: mu.to_vec(), variance: vec![v; 2] };
    let prior = Mixture::new(gpu(), process, vec![component]);
    let operator = Matrix::new(gpu(), Shape::new(1, 1, 1, 2), &a)?;
    let y = (y, Tensor::from_slice(gpu(), Shape::new(n, 1, 1, 1), &vec![y as f32; n])?);
    let measurement = Measurement { operator: &operator, y: y.1, noise_std };
    let draw = Draw::new(3);
    let score = Guided::new(measurement, guidance(&prior), draw)?;
    let x = diffused(&prior, n, 3);
    let samples = read(&sampler(CorrectorName::None, steps).run(&score, x, draw, &mut |_| Ok(()))?.x);
    let truth = posterior(mu, v, a, y.0, noise_std);
    let [.., aa, ab, bb] = truth;
    let errors = [aa, bb, 2.0 * aa * aa, aa * bb + ab * ab, 2.0 * bb * bb].map(|v| (v / n as f64).sqrt());
    Ok([moments(&samples), truth, errors])
}

/// Compares [`guided`] with the truth on every process, within five standard errors and a bias of `bias`.
fn assert_posterior(guidance: impl Fn(&dyn Adjoint) -> Guidance<'_>, bias: f64) {
    for process in PROCESSES {
        for noise_std in [0.3, 0.05] {
            let [actual, truth, errors] = guided(process, &guidance, noise_std, 2000, 200).expect("samples");
            for (k, ((actual, truth), error)) in actual.iter().zip(truth).zip(errors).enumerate() {
                assert!(
                    (actual - truth).abs() <= 5.0 * error + bias,
                    "{process:?}, noise {noise_std}: moment {k} is {actual}, not {truth}; {error:.1e}"
                );
            }
        }
    }
}

#[test]
fn pseudo_inverse_guidance_draws_from_a_gaussians_posterior() {
    // The bias of 200 steps.
    assert_posterior(|score| Guidance::PseudoInverse { score, sigma_data: 0.5 }, 0.005);
}

#[test]
fn noised_measurements_draw_from_a_gaussians_posterior_up_to_a_bias_of_four_hundredths() {
    // An approximation, as the paper says: a tenth of a standard deviation of this posterior.
    assert_posterior(|score| Guidance::Measured(score), 0.04);
}

/// The root mean square of a·x − y in units of the noise, over restorations of `n` noisy measurements y of
/// points of eight narrow Gaussians on a circle, with `count` particles each; and the evaluations per
/// restoration. Samples of the posterior give 1.
fn residual_of_restorations(process: &'static dyn Process, n: usize, count: usize) -> (f64, f64) {
    let (a, noise_std) = ([1.0, 0.0], 0.1);
    let mut prior = Mixture::eight(gpu(), process);
    prior.components.iter_mut().for_each(|component| component.variance = vec![9e-4; 2]);
    let noise = read(&random(Shape::vector(n), 11));
    let y: Vec<f32> =
        prior.draws(n, 8).chunks(2).zip(noise).map(|(x, z)| (x[0] + noise_std * z) as f32).collect();
    let operator = Matrix::new(gpu(), Shape::new(1, 1, 1, 2), &a).expect("a matrix");
    let y_tensor = Tensor::from_slice(gpu(), Shape::new(n, 1, 1, 1), &y).expect("y");
    let particles = Particles::new(sampler(CorrectorName::None, 200), count, process).expect("particles");
    let draw = Draw::new(3);
    let own = particles.of(draw, n).expect("numbers");
    let measurement =
        Measurement { operator: &operator, y: particles.repeat(&y_tensor).expect("y"), noise_std };
    let guidance = Guidance::PseudoInverse { score: &prior, sigma_data: 0.7 };
    let score = Guided::new(measurement, guidance, own).expect("a score");
    let x = diffused(&prior, n * count, 3);
    let sampled = particles.run(&score, x, draw, &mut |_| Ok(())).expect("samples");
    let off = read(&sampled.x).chunks(2).zip(&y).map(|(x, y)| (x[0] - f64::from(*y)).powi(2)).sum::<f64>();
    ((off / n as f64).sqrt() / noise_std, sampled.evaluations)
}

#[test]
fn restorations_by_particles_match_their_measurements_within_the_noise() {
    // A mixture's p(x₀ | x) is far from the Gaussian that guidance alone assumes.
    let n = 600;
    let error = (0.5 / n as f64).sqrt();
    for process in PROCESSES {
        let [(alone, _), (several, evaluations)] =
            [1, 8].map(|count| residual_of_restorations(process, n, count));
        assert!(alone > 1.7, "{process:?}: guidance alone is as good, {alone}");
        assert!(
            (several - 1.0).abs() < 5.0 * error,
            "{process:?}: {several}, not 1 within 5 times {error:.3}"
        );
        assert_eq!(evaluations, 1600.0);
    }
}

#[test]
fn a_coordinate_that_is_known_is_exact_and_the_other_follows_it() {
    // Two of the eight modes have this first coordinate, with weights 2 and 8, and a third contributes
    // little.
    let a = 0.5f64.sqrt();
    for process in PROCESSES {
        let prior = Mixture::eight(gpu(), process);
        let n = 2000;
        let one =
            |values: &[f32]| Tensor::from_slice(gpu(), Shape::new(1, 1, 1, 2), values).expect("an upload");
        let constraint = Impute::pixels(one(&[a as f32, 0.0]), one(&[1.0, 0.0]));
        let draw = Draw::new(5);
        let x = diffused(&prior, n, 5);
        let sampled =
            sampler(CorrectorName::Langevin, 200)
                .run_under(Some(&constraint), &prior, x, draw, &mut |_| Ok(()));
        let samples = read(&sampled.expect("samples").x);
        assert!(
            samples.chunks(2).all(|x| x[0] == f64::from(a as f32)),
            "{process:?}: the known is not exact"
        );
        let share = |c: &Component| c.weight * (-0.5 * (a - c.mean[0]).powi(2) / c.variance[0]).exp();
        let total: f64 = prior.components.iter().map(share).sum();
        let mean: f64 = prior.components.iter().map(|c| share(c) / total * c.mean[1]).sum();
        let upper: f64 = prior.components.iter().filter(|c| c.mean[1] > 0.1).map(|c| share(c) / total).sum();
        let actual = samples.chunks(2).map(|x| x[1]).sum::<f64>() / n as f64;
        let above = samples.chunks(2).filter(|x| x[1] > 0.35).count() as f64 / n as f64;
        // Imputation is approximate: the unknown coordinate sees the known one only with the state's noise.
        // Five standard errors, and a measured bias: 0.06 of the share, 0.11 of the mean.
        let error = (upper * (1.0 - upper) / n as f64).sqrt();
        assert!((above - upper).abs() < 5.0 * error + 0.07, "{process:?}: {above} are above, not {upper}");
        assert!((actual - mean).abs() < 7.5 * error + 0.12, "{process:?}: the mean is {actual}, not {mean}");
    }
}

#[test]
fn a_models_adjoint_is_that_of_its_tangent() {
    use tweedie::kernels::combine::Form;
    use tweedie::sample::{Tangents, Times};
    use tweedie::train::{Checkpoint, Weights};
    let path = crate::cli::trained().join("checkpoints/step-00000020.safetensors");
    let scorer = Checkpoint::read(&path).and_then(|c| c.scorer(gpu(), Weights::Raw)).expect("a model");
    let shape = Shape::new(2, 8, 8, 1);
    let [x, v, u] = [1, 2, 3].map(|seed| random(shape, seed));
    let t = Times::from(vec![0.3, 0.8]);
    let stack = tweedie::kernels::layout::stack(&[&x, &v]).expect("a stack");
    let tangents =
        Tangents::tangents(&scorer, &stack, 1, &t).and_then(|form| Ok(form.run()?)).expect("tangents");
    let tangent = tweedie::kernels::layout::samples(&tangents, 2, 2).expect("a tangent");
    let (at, pullback) = Adjoint::adjoint(&scorer, &x, &t).expect("an adjoint");
    assert_eq!(read(&at.score().run().expect("a score")), read(&tangents)[..shape.len()]);
    let gradient = pullback(Form::from(&u)).and_then(|form| Ok(form.run()?)).expect("a gradient");
    let (left, right) = (dot(&tangent, &u), dot(&v, &gradient));
    let scale = dot(&tangent, &tangent).sqrt() * dot(&u, &u).sqrt();
    assert!((left - right).abs() < 1e-4 * scale, "{left} and {right}");
}
