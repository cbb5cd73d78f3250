//! Predictors, correctors and annealed Langevin dynamics on distributions with a known score. States start
//! from the diffused distribution itself, so that every error of a sample is the solver's.
//!
//! Every check allows five standard errors and the solver's bias, which each test states. Orders of
//! convergence are measured in the predictors' unit tests, where no noise hides them.

use crate::distributions::*;
use crate::support::gpu;
use std::cell::RefCell;
use tweedie::config::{CorrectorName, Method, Over, PredictorName, Sampling};
use tweedie::random::{Key, Purpose};
use tweedie::sample::{
    AnnealedLangevin, Constrained, Constraint, Draw, Moment, PredictorCorrector, Result, Sampled, Sampler,
    sampler,
};
use tweedie::sde::{Chain, Marginal, Process, SubVp, Ve, Vp};
use tweedie::tensor::{Shape, Tensor};

const VE: &dyn Process = &Ve { sigma_min: 0.01, sigma_max: 5.0 };
const VP: &dyn Process = &Vp { beta_min: 0.1, beta_max: 20.0 };
const SUBVP: &dyn Process = &SubVp { beta_min: 0.1, beta_max: 20.0 };

const PREDICTORS: [PredictorName; 6] = [
    PredictorName::EulerMaruyama,
    PredictorName::ReverseDiffusion,
    PredictorName::AncestralSampling,
    PredictorName::ProbabilityFlow,
    PredictorName::StochasticRungeKutta,
    PredictorName::None,
];

const CORRECTORS: [CorrectorName; 5] = [
    CorrectorName::None,
    CorrectorName::Langevin,
    CorrectorName::Ald,
    CorrectorName::Mala,
    CorrectorName::Hmc,
];

/// The number of sampler steps.
const STEPS: usize = 64;

const DRAW: Draw = Draw::new(5);

fn host(x: &Tensor) -> Vec<f64> {
    x.read().expect("a download").iter().map(|v| f64::from(*v)).collect()
}

fn run(sampler: &dyn Sampler, mixture: &Mixture, x: Tensor, draw: Draw) -> Sampled {
    sampler.run(mixture, x, draw, &mut |_| Ok(())).expect("samples")
}

/// The bias of a first-order solver in a mean or a covariance of these targets with [`STEPS`] steps, measured
/// with 20,000 samples and rounded up. Correctors reduce it, or add 2 snr² of a variance.
fn bias(process: &dyn Process, predictor: PredictorName) -> f64 {
    match (predictor, process.name()) {
        (PredictorName::StochasticRungeKutta, _) => 0.01,
        (PredictorName::EulerMaruyama, _) => 0.02,
        (PredictorName::ReverseDiffusion, _) => 0.03,
        (PredictorName::AncestralSampling, _) => 0.04,
        // The flow has no noise that would damp an error.
        (PredictorName::ProbabilityFlow, "vpsde") => 0.22,
        (PredictorName::ProbabilityFlow, _) => 0.06,
        // The chain lags behind the marginals.
        (PredictorName::None, _) => 0.06,
    }
}

/// A corrector alone has to cover the whole path: more and larger steps.
fn pair(predictor: PredictorName, corrector: CorrectorName) -> Sampling {
    let alone = predictor == PredictorName::None;
    Sampling {
        predictor,
        corrector,
        n_steps_each: if alone { 4 } else { 1 },
        snr: if alone { 0.4 } else { 0.16 },
        hmc_leapfrog: 2,
        // The norm of two numbers varies too much; in many dimensions each sample uses its own.
        langevin_norms: Over::Batch,
        ..Sampling::default()
    }
}

fn every_predictor_with_every_corrector(process: &'static dyn Process) {
    let targets = [(Mixture::gaussian(gpu(), process), 3000), (Mixture::eight(gpu(), process), 1500)];
    for (mixture, most) in &targets {
        for predictor in PREDICTORS {
            for corrector in CORRECTORS {
                let what = format!("{:?} {predictor:?} {corrector:?}", process);
                let idle = predictor == PredictorName::None;
                if idle && corrector == CorrectorName::None {
                    continue;
                }
                // The cost of batch norms is quadratic in the batch.
                let n = if idle || corrector == CorrectorName::Langevin { 700 } else { *most };
                let solver = PredictorCorrector::new(&pair(predictor, corrector), STEPS).expect("a solver");
                let sampled = run(&solver, mixture, diffused(mixture, n, 3), DRAW);
                let (samples, bias) = (host(&sampled.x), bias(process, predictor));
                assert_moments(&what, &samples, mixture, 5.0, bias);
                if mixture.components.len() > 1 {
                    assert_weights(&what, &samples, mixture, 5.0, 0.2 * bias);
                    let distance = sliced_wasserstein(&samples, &mixture.draws(n, 9));
                    assert!(distance < 0.1 + bias, "{what}: {distance} from exact draws");
                }
                let rejects = matches!(corrector, CorrectorName::Mala | CorrectorName::Hmc);
                assert_eq!(sampled.acceptance.is_some(), rejects, "{what}");
                assert!(sampled.acceptance.is_none_or(|share| (0.85..1.0).contains(&share)), "{what}");
            }
        }
    }
}

#[test]
fn every_predictor_with_every_corrector_samples_the_targets_on_ve() {
    every_predictor_with_every_corrector(VE);
}

#[test]
fn every_predictor_with_every_corrector_samples_the_targets_on_vp() {
    every_predictor_with_every_corrector(VP);
}

#[test]
fn every_predictor_with_every_corrector_samples_the_targets_on_subvp() {
    every_predictor_with_every_corrector(SUBVP);
}

/// The score evaluations of `STEPS` steps.
#[test]
fn every_evaluation_is_counted() {
    let mixture = Mixture::gaussian(gpu(), VE);
    for (predictor, of_predictor) in [
        (PredictorName::None, 0),
        (PredictorName::EulerMaruyama, STEPS),
        // Two for each interval of the grid, and Tweedie's formula at its end.
        (PredictorName::StochasticRungeKutta, 2 * (STEPS - 1) + 1),
    ] {
        for (corrector, each) in [
            (CorrectorName::Langevin, 1),
            (CorrectorName::Ald, 1),
            (CorrectorName::Mala, 3),
            (CorrectorName::Hmc, 9),
        ] {
            let config = Sampling { hmc_leapfrog: 4, n_steps_each: 2, ..pair(predictor, corrector) };
            let solver = PredictorCorrector::new(&config, STEPS).expect("a solver");
            let sampled = run(&solver, &mixture, diffused(&mixture, 2, 3), DRAW);
            assert_eq!(
                sampled.evaluations,
                (of_predictor + 2 * each * STEPS) as f64,
                "{predictor:?} {corrector:?}"
            );
        }
    }
}

/// In 64 dimensions a sample's own norms determine its step.
#[test]
fn the_langevin_step_of_a_samples_own_norms_keeps_a_gaussian_of_many_dimensions() {
    let variance = |i: usize| 0.1 + 0.01 * (i % 5) as f64;
    let only = Component { weight: 1.0, mean: vec![0.3; 64], variance: (0..64).map(variance).collect() };
    let mixture = Mixture::new(gpu(), VP, vec![only]);
    let config = Sampling {
        langevin_norms: Over::Sample,
        ..pair(PredictorName::ReverseDiffusion, CorrectorName::Langevin)
    };
    let solver = PredictorCorrector::new(&config, STEPS).expect("a solver");
    let sampled = run(&solver, &mixture, diffused(&mixture, 600, 3), DRAW);
    assert_moments("64 dimensions", &host(&sampled.x), &mixture, 5.0, 0.02);
}

/// The marginal distribution of a time, as a distribution of data.
fn marginal(mixture: &Mixture, t: f64) -> Mixture {
    let Marginal { mean: m, std: s } = mixture.process.marginal_prob(t);
    let component = |c: &Component| Component {
        weight: c.weight,
        mean: c.mean.iter().map(|mean| m * mean).collect(),
        variance: c.variance.iter().map(|variance| m * m * variance + s * s).collect(),
    };
    Mixture::new(gpu(), mixture.process, mixture.components.iter().map(component).collect())
}

/// Exact draws from the marginal of a time after `steps` steps of a corrector at that time, and the share of
/// accepted proposals.
fn corrected(mixture: &Mixture, t: f64, config: &Sampling, (n, steps): (usize, u32)) -> (Vec<f64>, f64) {
    let draws: Vec<f32> = marginal(mixture, t).draws(n, 11).iter().map(|v| *v as f32).collect();
    let mut x = Tensor::from_slice(gpu(), Shape::new(n, 1, 1, 2), &draws).expect("an upload");
    let solver = PredictorCorrector::new(config, 1000).expect("a solver");
    let (corrector, _) = solver.corrector.expect("a corrector");
    let accepted = Tensor::zeros(gpu(), Shape::vector(n)).expect("memory");
    for step in 0..steps {
        let [key, acceptance] =
            [Purpose::Corrector(0), Purpose::Acceptance(0)].map(|purpose| DRAW.key(purpose).at(step));
        let chain = Chain::new(mixture.process, 1000);
        let at = Moment { score: mixture, chain, t, key, acceptance, accepted: &accepted };
        x = corrector.step(&at, x).expect("a step");
    }
    let share = host(&accepted).iter().sum::<f64>() / (n as f64 * f64::from(steps));
    (host(&x), share)
}

/// Unadjusted steps are small here: the relative error of a variance is below 2 snr². The modes are five
/// standard deviations apart, and one sample in a hundred is closer to another mode's mean than to its own.
#[test]
fn every_corrector_leaves_the_marginal_as_it_is() {
    for (process, t) in [(VE, 0.4), (VP, 0.03), (SUBVP, 0.1)] {
        let mixture = Mixture::eight(gpu(), process);
        for (corrector, snr) in [
            (CorrectorName::Langevin, 0.05),
            (CorrectorName::Ald, 0.05),
            (CorrectorName::Mala, 0.5),
            (CorrectorName::Hmc, 0.5),
        ] {
            let config = Sampling { snr, ..pair(PredictorName::None, corrector) };
            let (samples, _) = corrected(&mixture, t, &config, (1500, 40));
            let what = format!("{:?} {corrector:?}", process);
            assert_moments(&what, &samples, &marginal(&mixture, t), 5.0, 0.005);
            assert_weights(&what, &samples, &marginal(&mixture, t), 5.0, 0.01);
        }
    }
}

/// Mean and standard error of a function of the samples.
fn mean_of(samples: &[f64], f: impl Fn(&[f64]) -> f64) -> (f64, f64) {
    let values: Vec<f64> = samples.chunks(2).map(f).collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// ε is 1.28 of the noise's variance s². On N(0, v) unadjusted Langevin ends at v / (1 − ε / 2 v).
#[test]
fn large_steps_preserve_a_gaussian_only_if_proposals_are_tested() {
    for process in [VE, VP, SUBVP] {
        let mixture = Mixture::gaussian(gpu(), process);
        let truth = marginal(&mixture, 1.0);
        let of = |corrector| Sampling { snr: 0.8, ..pair(PredictorName::None, corrector) };
        for corrector in [CorrectorName::Mala, CorrectorName::Hmc] {
            let (samples, share) = corrected(&mixture, 1.0, &of(corrector), (4000, 40));
            assert_moments(&format!("{:?} {corrector:?}", process), &samples, &truth, 5.0, 0.0);
            assert!((0.3..0.9).contains(&share), "{:?} {corrector:?}: {share} accepted", process);
        }
        let (samples, _) = corrected(&mixture, 1.0, &of(CorrectorName::Ald), (4000, 40));
        let (mean, variance) = (truth.components[0].mean[0], truth.components[0].variance[0]);
        let eps = 2.0
            * Chain::new(process, 1000).corrector_alpha(1.0)
            * (0.8 * process.marginal_prob(1.0).std).powi(2);
        let biased = variance / (1.0 - 0.5 * eps / variance);
        let (actual, error) = mean_of(&samples, |x| (x[0] - mean).powi(2));
        assert!((actual - biased).abs() < 5.0 * error, "{:?}: {actual} is not {biased}", process);
        assert!(actual - variance > 20.0 * error, "{:?}: {actual} shows no bias", process);
    }
}

/// For a nonlinear score the energy differences are Simpson integrals of the score.
#[test]
fn large_steps_preserve_the_spread_within_modes_if_proposals_are_tested() {
    for (process, t) in [(VE, 0.3), (SUBVP, 0.1)] {
        let mixture = Mixture::eight(gpu(), process);
        let truth = marginal(&mixture, t);
        let spread = |samples: &[f64]| {
            mean_of(samples, |x| {
                let distance = |c: &Component| (x[0] - c.mean[0]).powi(2) + (x[1] - c.mean[1]).powi(2);
                truth.components.iter().map(distance).fold(f64::INFINITY, f64::min)
            })
        };
        let (expected, of_expected) = spread(&truth.draws(20_000, 21));
        let errors = |corrector| {
            let config = Sampling { snr: 1.0, ..pair(PredictorName::None, corrector) };
            let (actual, of_actual) = spread(&corrected(&mixture, t, &config, (2000, 40)).0);
            (actual - expected) / of_actual.hypot(of_expected)
        };
        for corrector in [CorrectorName::Mala, CorrectorName::Hmc] {
            assert!(errors(corrector).abs() < 5.0, "{:?} {corrector:?}: {}", process, errors(corrector));
        }
        let unadjusted = errors(CorrectorName::Ald);
        assert!(unadjusted > 10.0, "{:?}: unadjusted steps are only {unadjusted} errors off", process);
    }
}

fn annealed(levels: usize) -> Box<dyn Sampler> {
    let config = Sampling { method: Method::Ald, n_steps_each: 10, ..Sampling::default() };
    sampler(&config, levels).expect("a sampler")
}

/// Five standard errors, and the remainder of the previous level after ten steps.
#[test]
fn annealed_langevin_dynamics_sample_the_targets() {
    for (mixture, n) in [(Mixture::gaussian(gpu(), VE), 2000), (Mixture::eight(gpu(), VE), 1500)] {
        let sampled = run(&*annealed(STEPS), &mixture, diffused(&mixture, n, 3), DRAW);
        let samples = host(&sampled.x);
        assert_moments("annealed", &samples, &mixture, 5.0, 0.03);
        assert_weights("annealed", &samples, &mixture, 5.0, 0.01);
        assert_eq!(sampled.evaluations, (10 * STEPS + 1) as f64);
    }
}

#[test]
fn annealed_langevin_dynamics_refuse_a_process_without_a_ladder() {
    let config = Sampling { method: Method::Ald, ..Sampling::default() };
    for process in [VP, SUBVP] {
        let (annealed, mixture) =
            (AnnealedLangevin::new(&config, 10).unwrap(), Mixture::gaussian(gpu(), process));
        let refused = annealed.run(&mixture, diffused(&mixture, 2, 3), DRAW, &mut |_| Ok(()));
        let message = refused.err().expect("no ladder").to_string();
        assert!(message.contains("VE process alone") && message.contains("corrector ald"), "{message}");
    }
    assert!(AnnealedLangevin::new(&config, 1).is_err());
}

/// Fixes the first of two coordinates and records its calls.
struct Known {
    value: f64,
    asked: RefCell<Vec<(Marginal, Key)>>,
}

impl Constraint for Known {
    fn impose(&self, x: Tensor, at: Marginal, key: Key) -> Result<Tensor> {
        self.asked.borrow_mut().push((at, key));
        let mut values = x.read()?;
        for (i, x) in values.chunks_mut(2).enumerate() {
            let noise = f64::from(key.normal(i as u32, 0)[0]);
            x[0] = (at.mean * self.value + at.std * noise) as f32;
        }
        Ok(Tensor::from_slice(x.gpu(), x.shape(), &values)?)
    }
}

/// Given the first coordinate of two modes, a sample lies in one of them, and the known coordinate is
/// unchanged.
#[test]
fn annealed_langevin_dynamics_fill_in_the_unknown_coordinate() {
    let mixture = Mixture::eight(gpu(), VE);
    let known = Known { value: 0.5f64.sqrt(), asked: RefCell::default() };
    let config = Sampling { method: Method::Ald, n_steps_each: 10, ..Sampling::default() };
    let annealed = AnnealedLangevin::new(&config, STEPS).expect("a sampler");
    let x = diffused(&mixture, 200, 3);
    let sampled = annealed.run_under(Some(&known), &mixture, x, DRAW, &mut |_| Ok(())).expect("samples");
    let samples = host(&sampled.x);
    assert!(samples.chunks(2).all(|x| x[0] as f32 == known.value as f32));
    // Four standard deviations around either; a few samples fall into the mode between them.
    let near = samples.chunks(2).filter(|x| (x[1].abs() - known.value).abs() < 0.4).count();
    assert!(near >= 190, "{near} of 200 in one of the two modes");
    let above = samples.chunks(2).filter(|x| x[1] > 0.0).count();
    assert!((10..190).contains(&above), "{above} of 200 above");
    // The noise of the known coordinate belongs to a level: the same for all its steps, another for the next
    // level.
    let asked = known.asked.borrow();
    assert_eq!(asked.len(), 10 * STEPS + 1);
    let levels = asked[..10 * STEPS].chunks(10);
    assert!(levels.clone().all(|level| level.iter().all(|step| *step == level[0])));
    assert!(levels.clone().zip(levels.skip(1)).all(|(a, b)| a[0].1 != b[0].1 && a[0].0.std > b[0].0.std));
}

/// Samples 8 to 15 drawn alone are those of sixteen, bit for bit.
#[test]
fn a_sample_depends_on_its_number_alone_with_every_solver() {
    let mixture = Mixture::eight(gpu(), VE);
    let shape = |n| Shape::new(n, 1, 1, 2);
    let start = diffused(&mixture, 16, 3).read().expect("a download");
    let tail = |values: &[f32]| values[16..].to_vec();
    let equal = |what: &str, sampler: &dyn Sampler| {
        let drawn = |values: &[f32], first: u32| {
            let x = Tensor::from_slice(gpu(), shape(values.len() / 2), values).expect("an upload");
            run(sampler, &mixture, x, Draw { first, ..DRAW }).x.read().expect("a download")
        };
        let together = drawn(&start, 0);
        assert!(tail(&together) == drawn(&tail(&start), 8), "{what} depends on the batch");
        assert!(tail(&together) != drawn(&tail(&start), 9), "{what} does not depend on the number");
    };
    for predictor in [PredictorName::ReverseDiffusion, PredictorName::StochasticRungeKutta] {
        for corrector in CORRECTORS {
            let config = Sampling {
                langevin_norms: Over::Sample,
                n_steps_each: 2,
                snr: 0.5,
                ..pair(predictor, corrector)
            };
            let solver = PredictorCorrector::new(&config, 20).expect("a solver");
            equal(&format!("{predictor:?} {corrector:?}"), &solver);
        }
    }
    equal("annealed Langevin dynamics", &*annealed(20));
    assert_ne!(DRAW.key(Purpose::Acceptance(0)), DRAW.key(Purpose::Corrector(0)));
}
