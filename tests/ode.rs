//! The probability flow and the likelihood on distributions with known flow and density.

use crate::distributions::*;
use crate::support::gpu;
use tweedie::config::Over;
use tweedie::eval::bits;
use tweedie::kernels::hutchinson::Probe;
use tweedie::sample::dormand_prince::Tolerance;
use tweedie::sample::likelihood::{EPS, LogLikelihood, Probing, log_likelihood};
use tweedie::sample::{Draw, Ode, Sampler, denoise};
use tweedie::sde::{Process, SubVp, Ve, Vp};
use tweedie::tensor::{Shape, Tensor};

fn ode(tolerance: f64) -> Ode {
    Ode {
        tolerance: Tolerance { relative: tolerance, absolute: tolerance },
        error_norm: Over::Sample,
        noise_removal: false,
    }
}

const DRAW: Draw = Draw::new(3);

/// The three processes with their usual parameters.
fn processes() -> [&'static dyn Process; 3] {
    [
        &Ve { sigma_min: 0.01, sigma_max: 10.0 },
        &Vp { beta_min: 0.1, beta_max: 20.0 },
        &SubVp { beta_min: 0.1, beta_max: 20.0 },
    ]
}

/// The same, run until the state is independent of the data. The prior then causes no error in log p;
/// otherwise it neglects the data's mean and variance.
fn forgetful() -> [&'static dyn Process; 3] {
    [
        &Ve { sigma_min: 0.01, sigma_max: 2000.0 },
        &Vp { beta_min: 0.1, beta_max: 40.0 },
        &SubVp { beta_min: 0.1, beta_max: 40.0 },
    ]
}

fn points(values: &[f64], d: usize) -> Tensor {
    let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
    Tensor::from_slice(gpu(), Shape::new(values.len() / d, 1, 1, d), &values).expect("an upload")
}

fn read(x: &Tensor) -> Vec<f64> {
    x.read().expect("a download").into_iter().map(f64::from).collect()
}

#[test]
fn samples_of_the_flow_follow_the_data() {
    for process in processes() {
        for mixture in [Mixture::gaussian(gpu(), process), Mixture::eight(gpu(), process)] {
            let n = 2000;
            let solver = Ode { noise_removal: true, ..ode(1e-4) };
            let x = diffused(&mixture, n, 5);
            let sampled = solver.run(&mixture, x, DRAW, &mut |_| Ok(())).expect("samples");
            let samples = read(&sampled.x);
            let what = format!("{:?}, {} components", process, mixture.components.len());
            println!("{what}: {:.1} evaluations", sampled.evaluations);
            assert_moments(&what, &samples, &mixture, 5.0, 2e-3);
            if mixture.components.len() > 1 {
                assert_weights(&what, &samples, &mixture, 5.0, 2e-3);
                let distance = sliced_wasserstein(&samples, &mixture.draws(n, 9));
                assert!(distance < 0.1, "{what}: {distance}");
            }
        }
    }
}

/// The flow of a Gaussian scales every axis by its standard deviation.
fn carried(mixture: &Mixture, x: &[f64], from: f64, to: f64) -> Vec<f64> {
    let component = &mixture.components[0];
    let [from, to] = [from, to].map(|t| mixture.process.marginal_prob(t));
    x.iter()
        .enumerate()
        .map(|(k, x)| {
            let (mu, v) = (component.mean[k % 2], component.variance[k % 2]);
            let std = |m: f64, s: f64| (m * m * v + s * s).sqrt();
            to.mean * mu + (x - from.mean * mu) * std(to.mean, to.std) / std(from.mean, from.std)
        })
        .collect()
}

#[test]
fn the_flow_of_a_gaussian_is_followed_with_an_error_that_falls_with_the_tolerance() {
    for process in processes() {
        let mixture = Mixture::gaussian(gpu(), process);
        let x = diffused(&mixture, 16, 5);
        let end = process.sampling_eps();
        let exact = carried(&mixture, &read(&x), 1.0, end);
        let solved = |tolerance: f64| {
            let solution =
                ode(tolerance).follow(&mixture, x.clone(), (1.0, end), &mut |_| Ok(())).expect("samples");
            let actual = read(&solution.state);
            let square = actual.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            let steps = solution.steps.iter().sum::<usize>() as f64 / 16.0;
            ((square / exact.len() as f64).sqrt(), steps)
        };
        let results: Vec<(f64, f64)> = [1e-2, 1e-3, 1e-4, 1e-5].map(solved).to_vec();
        println!("{:?}: error and steps {results:?}", process);
        // The order itself is measured in float64 in the solver's unit tests. With so few steps the error
        // estimate is poor, as SciPy's is.
        assert!(results[2].0 < 0.1 * results[0].0 && results[3].0 < 0.05 * results[0].0, "{results:?}");
        assert!(results[3].0 < 2e-3, "{results:?}");
    }
}

#[test]
fn all_of_the_last_noise_is_removed() {
    for process in processes() {
        let mixture = Mixture::gaussian(gpu(), process);
        let (x, eps) = (diffused(&mixture, 16, 5), process.sampling_eps());
        let solver = Ode { noise_removal: true, ..ode(1e-6) };
        let sampled = solver.run(&mixture, x.clone(), DRAW, &mut |_| Ok(())).expect("samples");
        // E[x₀ | x] of a Gaussian, at the end of the flow.
        let (component, at) = (&mixture.components[0], process.marginal_prob(eps));
        let mean = |(k, x): (usize, f64)| {
            let (mu, v) = (component.mean[k % 2], component.variance[k % 2]);
            mu + at.mean * v / (at.mean.powi(2) * v + at.std.powi(2)) * (x - at.mean * mu)
        };
        let exact: Vec<f64> =
            carried(&mixture, &read(&x), 1.0, eps).into_iter().enumerate().map(mean).collect();
        for (a, b) in read(&sampled.x).iter().zip(exact) {
            assert!((a - b).abs() < 2e-3, "{:?}: {a} is not {b}", process);
        }
        // A state without noise is the data.
        assert!(
            read(&denoise(&mixture, &x, 0.0).expect("data")) == read(&x)
                || process.marginal_prob(0.0).std > 0.0
        );
    }
}

#[test]
fn decoding_inverts_encoding() {
    for process in processes() {
        let mixture = Mixture::eight(gpu(), process);
        let x = points(&mixture.draws(16, 7), 2);
        let there = ode(1e-5).follow(&mixture, x.clone(), (EPS, 1.0), &mut |_| Ok(())).expect("latents");
        let back = ode(1e-5).follow(&mixture, there.state, (1.0, EPS), &mut |_| Ok(())).expect("samples");
        for (a, b) in read(&back.state).iter().zip(read(&x)) {
            assert!((a - b).abs() < 1e-3, "{:?}: {a} is not {b}", process);
        }
    }
}

#[test]
fn a_sample_does_not_depend_on_its_batch_bit_for_bit() {
    let mixture = Mixture::eight(gpu(), processes()[0]);
    let x = diffused(&mixture, 6, 2);
    let run = |x: Tensor| ode(1e-3).follow(&mixture, x, (1.0, 1e-5), &mut |_| Ok(())).expect("samples");
    let together = run(x.clone());
    let bits =
        |x: &Tensor| -> Vec<u32> { x.read().expect("a download").into_iter().map(f32::to_bits).collect() };
    for (i, alone) in x.read().expect("a download").chunks(2).enumerate() {
        let alone = run(Tensor::from_slice(gpu(), Shape::new(1, 1, 1, 2), alone).expect("an upload"));
        assert_eq!(bits(&alone.state), bits(&together.state)[2 * i..2 * i + 2], "sample {i}");
        assert_eq!(alone.evaluations[0], together.evaluations[i]);
        assert_eq!(alone.steps[0], together.steps[i]);
    }
    let counts = &together.evaluations;
    assert!(counts.iter().any(|count| *count != counts[0]), "all samples finish at once: {counts:?}");
    assert_eq!(together.calls, *counts.iter().max().expect("a sample"));
}

#[test]
fn a_batch_that_is_controlled_jointly_takes_its_steps_together() {
    let mixture = Mixture::eight(gpu(), processes()[1]);
    let joint = Ode { error_norm: Over::Batch, ..ode(1e-4) };
    let mut times = Vec::new();
    let mut watch = |progress: tweedie::sample::Progress<'_>| {
        assert_eq!(progress.state.shape().n(), 6);
        times.push(progress.t);
        Ok(())
    };
    let solution =
        joint.follow(&mixture, diffused(&mixture, 6, 2), (1.0, 1e-3), &mut watch).expect("samples");
    assert_eq!(solution.evaluations, [solution.calls]);
    assert_eq!(solution.calls, 2 + 6 * times.len());
    assert_eq!(times.last(), Some(&1e-3));
    assert!(times.is_sorted_by(|a, b| a >= b));
}

/// log p of some points of a mixture at the flow's start, by `probing`, and in closed form.
fn likelihoods(mixture: &Mixture, n: usize, probing: Probing, tolerance: f64) -> Vec<(LogLikelihood, f64)> {
    let x = mixture.draws(n, 11);
    let likelihood = log_likelihood(mixture, &points(&x, 2), probing, &ode(tolerance), &mut |_| Ok(()))
        .expect("a likelihood");
    // The flow starts from the data at EPS.
    let exact = x.chunks(2).map(|x| mixture.log_density(x, EPS));
    likelihood.samples.into_iter().zip(exact).collect()
}

#[test]
fn with_the_exact_trace_log_p_is_the_closed_form() {
    for process in forgetful() {
        for mixture in [Mixture::gaussian(gpu(), process), Mixture::eight(gpu(), process)] {
            let mut worst = 0f64;
            for (log, exact) in likelihoods(&mixture, 24, Probing::Exact, 1e-5) {
                assert_eq!(log.changes.len(), 1);
                worst = worst.max((log.logp() - exact).abs() / 2.0);
            }
            println!("{:?}: off by {worst:.1e} nats/dim at most", process);
            assert!(worst < 1e-3, "{:?}: {worst}", process);
        }
    }
}

/// For a process that still depends on the data at time 1, the error of log p is the prior's error at the
/// latent.
#[test]
fn the_error_of_log_p_is_that_of_the_prior() {
    for process in processes() {
        let mixture = Mixture::eight(gpu(), process);
        let x = mixture.draws(8, 11);
        let likelihood =
            log_likelihood(&mixture, &points(&x, 2), Probing::Exact, &ode(1e-5), &mut |_| Ok(()))
                .expect("a likelihood");
        let latents = read(&likelihood.latent);
        for (i, log) in likelihood.samples.iter().enumerate() {
            let (x, z) = (&x[2 * i..2 * i + 2], &latents[2 * i..2 * i + 2]);
            let mismatch = log.prior - mixture.log_density(z, 1.0);
            let expected = mixture.log_density(x, EPS) + mismatch;
            assert!((log.logp() - expected).abs() < 2e-3, "{:?}: {} is not {expected}", process, log.logp());
        }
    }
}

#[test]
fn with_probes_log_p_is_the_closed_form_within_its_own_standard_error() {
    for process in forgetful() {
        let mixture = Mixture::eight(gpu(), process);
        for kind in [Probe::Rademacher, Probe::Gaussian] {
            let probing = Probing::Drawn { count: 8, kind, draw: DRAW, first: 0 };
            let results = likelihoods(&mixture, 64, probing, 1e-4);
            let mean = |f: &dyn Fn(&(LogLikelihood, f64)) -> f64| {
                results.iter().map(f).sum::<f64>() / results.len() as f64
            };
            let exact = 8.0 - mean(&|(_, exact)| *exact) / (2.0 * std::f64::consts::LN_2);
            let logs = vec![results.iter().map(|(log, _)| log.clone()).collect::<Vec<_>>()];
            let estimate = bits(&logs, 2, false);
            let error = estimate.of_probes.expect("several probes");
            println!("{:?} {kind:?}: {} ± {error}, exactly {exact}", process, estimate.mean);
            assert!(error > 1e-3 && error < 1.0, "{error}");
            assert!(
                (estimate.mean - exact).abs() < 5.0 * error,
                "{} ± {error} is not {exact}",
                estimate.mean
            );
        }
    }
}

#[test]
fn a_samples_log_p_does_not_depend_on_its_batch_nor_on_how_its_tangents_are_divided() {
    let mixture = Mixture::eight(gpu(), processes()[0]);
    let x = points(&mixture.draws(4, 11), 2);
    let drawn = |first: u32, count| Probing::Drawn {
        count,
        kind: Probe::Gaussian,
        draw: Draw::new(3).from(first),
        first: 0,
    };
    let together =
        log_likelihood(&mixture, &x, drawn(0, 3), &ode(1e-3), &mut |_| Ok(())).expect("a likelihood");
    for (i, alone) in x.read().expect("a download").chunks(2).enumerate() {
        let alone = Tensor::from_slice(gpu(), Shape::new(1, 1, 1, 2), alone).expect("an upload");
        let alone = log_likelihood(&mixture, &alone, drawn(i as u32, 3), &ode(1e-3), &mut |_| Ok(()))
            .expect("a likelihood");
        assert_eq!(alone.samples[0], together.samples[i]);
    }
    // Too many probes for one stack.
    let many =
        log_likelihood(&mixture, &x, drawn(0, 700), &ode(1e-3), &mut |_| Ok(())).expect("a likelihood");
    assert_eq!(many.samples[0].changes.len(), 700);
    let exact =
        log_likelihood(&mixture, &x, Probing::Exact, &ode(1e-3), &mut |_| Ok(())).expect("a likelihood");
    for (many, exact) in many.samples.iter().zip(&exact.samples) {
        let spread = many.changes.iter().map(|c| (c - many.change()).powi(2)).sum::<f64>() / 699.0;
        let error = (spread / 700.0).sqrt();
        assert!((many.change() - exact.change()).abs() < 5.0 * error + 5e-3, "{error}");
    }
}

#[test]
fn standard_errors_come_from_images_draws_and_probes() {
    let log = |changes: &[f64]| LogLikelihood { prior: -1.0, changes: changes.to_vec() };
    let ln2 = std::f64::consts::LN_2;
    // Two images, two draws of two probes each, of one dimension.
    let draws = [vec![log(&[1.0, 3.0]), log(&[5.0, 5.0])], vec![log(&[2.0, 2.0]), log(&[7.0, 7.0])]];
    let estimate = bits(&draws, 1, true);
    let close = |a: Option<f64>, b: f64| (a.expect("an error") * ln2 - b).abs() < 1e-12;
    assert!((estimate.mean - (7.0 - 3.0 / ln2)).abs() < 1e-12);
    // Means of 2 and 6; draws of (2, 2) and (5, 7); one pair of probes of four differs by 2.
    assert!(close(estimate.error, 2.0), "{estimate:?}");
    assert!(close(estimate.of_draws, 0.5), "{estimate:?}");
    assert!(close(estimate.of_probes, 0.25), "{estimate:?}");
    let alone = bits(&[vec![log(&[1.0])]], 1, false);
    assert_eq!((alone.error, alone.of_probes, alone.of_draws), (None, None, None));
}

#[test]
fn tolerances_that_are_not_positive_and_probes_that_do_not_fit_are_refused() {
    let mixture = Mixture::gaussian(gpu(), processes()[0]);
    let x = points(&mixture.draws(2, 1), 2);
    for tolerance in [0.0, -1e-5, f64::NAN] {
        let message = match ode(tolerance).follow(&mixture, x.clone(), (1.0, 1e-5), &mut |_| Ok(())) {
            Ok(_) => panic!("{tolerance} is accepted"),
            Err(error) => error.to_string(),
        };
        assert!(message.contains("it must be a number above 0"), "{message}");
    }
    let given = Probing::Given { eps: x.clone(), count: 2 };
    assert!(log_likelihood(&mixture, &x, given, &ode(1e-3), &mut |_| Ok(())).is_err());
    let none = Probing::Drawn { count: 0, kind: Probe::Gaussian, draw: DRAW, first: 0 };
    assert!(log_likelihood(&mixture, &x, none, &ode(1e-3), &mut |_| Ok(())).is_err());
}
