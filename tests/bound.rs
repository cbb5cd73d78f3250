//! The variational bound of DDPM's chain, compared with a known likelihood and with the objective.

use crate::distributions::{Component, Mixture};
use crate::support::gpu;
use tweedie::config::Config;
use tweedie::data::{Dataset, Loader, Split};
use tweedie::eval::Bound;
use tweedie::random::{Key, Purpose};
use tweedie::sde::{Chain, DdpmChain, PosteriorVariance, Process, Vp};
use tweedie::tensor::{Shape, Tensor};
use tweedie::train::{Draw, Objective, Trainer};

fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

#[test]
fn with_the_exact_score_of_a_gaussian_the_gap_between_bound_and_likelihood_is_the_theoretical_one() {
    let vp: &Vp = &Vp { beta_min: 0.1, beta_max: 20.0 };
    let (chain, variances, images) = (DdpmChain::new(Chain::new(vp, 200)), [0.04, 0.01], 1200);
    let component = Component { weight: 1.0, mean: vec![0.2, -0.1], variance: variances.to_vec() };
    let mixture = Mixture::new(gpu(), vp, vec![component]);
    let draws = mixture.draws(images, 3);
    let values: Vec<f32> = draws.iter().map(|v| *v as f32).collect();
    let x0 = Tensor::from_slice(gpu(), Shape::new(images, 1, 1, 2), &values).expect("an upload");
    let time = |i: usize| vp.time_of_sigma(chain.marginal(i).std / chain.marginal(i).mean);
    let times: Vec<f64> = (0..chain.len()).map(time).collect();
    let mut bound = Bound::new(chain.clone(), -1.0);
    bound.add(
        &bound
            .measure(&mixture, &times, &x0, Key::new(1, Purpose::Other(0)), &mut || Ok(()))
            .expect("a bound"),
    );

    // Levels 2 / 255 apart.
    let level = 2.0 * (2.0f64 / 255.0).ln();
    let likelihood: Vec<f64> = draws.chunks(2).map(|x| -mixture.log_density(x, 0.0) - level).collect();
    for kind in [PosteriorVariance::Beta, PosteriorVariance::BetaTilde] {
        // The same in closed form, minus the data's entropy: see `sde::ddpm`.
        let expected = |v: f64| {
            let error = |i: usize| {
                let m = chain.marginal(i);
                m.mean.powi(2) * v / (m.mean.powi(2) * v + m.std.powi(2))
            };
            let steps = |i| chain.error_weight(i, kind) * error(i) + chain.variance_divergence(i, kind);
            let first = chain.marginal(0);
            let (missed, variance) = ((first.std / first.mean).powi(2) * error(0), chain.variance(0, kind));
            // For normal densities with entropy ½ log(2πe variance).
            chain.prior_divergence(1, v)
                + (1..chain.len()).map(steps).sum::<f64>()
                + 0.5 * (variance.ln() + missed / variance - 1.0 - v.ln())
        };
        let expected: f64 = variances.iter().map(|v| expected(*v)).sum();
        let totals = bound.totals(kind);
        let gaps: Vec<f64> = totals.iter().zip(&likelihood).map(|(total, exact)| total - exact).collect();
        let (gap, error) = mean_and_error(&gaps);
        println!("{kind:?}: {gap} ± {error} above, expected {expected}");
        assert!(
            gap > 0.0 && (gap - expected).abs() < 5.0 * error,
            "{kind:?}: {gap} ± {error} is not {expected}"
        );
        assert!(error < 0.1, "a standard error of {error} is too large to conclude anything");
        let total = mean_and_error(&totals).0;
        assert!((bound.terms(kind).total() - total).abs() < 1e-9 * total);
    }
    // The last state carries no information about the data, the first one all of it.
    assert!(bound.distortion(0) < 3.0 && bound.distortion(199) > 10.0);
    assert!((0..200).all(|i| bound.distortion(i) <= 255.0));
}

#[test]
fn the_objective_is_the_bound_minus_its_constant_terms() {
    for (kind, variance, prediction) in
        [(PosteriorVariance::Beta, "beta", "eps"), (PosteriorVariance::BetaTilde, "beta_tilde", "v")]
    {
        let text = std::fs::read_to_string("configs/digits_ddpm.toml").expect("a file");
        let set = [
            "model.nf=4",
            "model.num_res_blocks=1",
            "model.attn_resolutions=[]",
            "model.init_scale=1.0",
            "model.num_scales=30",
            "training.objective=vlb",
            "training.reduce_mean=false",
            "training.batch_size=16",
            &format!("training.posterior_variance={variance}"),
            &format!("model.prediction={prediction}"),
        ];
        let config = Config::from_toml(&text, &set.map(String::from)).expect("a configuration");
        let trainer = Trainer::new(gpu(), &config).expect("a trainer");
        let shape = Shape::new(16, 8, 8, 1);
        let batch = Loader::new(Dataset::digits(Split::Test).expect("digits"), &config.data, 16, 1)
            .and_then(|mut loader| loader.batch(0))
            .expect("a batch");
        let x0 = Tensor::from_slice(gpu(), shape, &batch.images).expect("an upload");

        let objective = Objective::new(&config, &trainer.scorer.model);
        let losses: Vec<f64> = (0..120)
            .map(|step| {
                let lanes = objective
                    .loss(&trainer.scorer, &x0, &vec![None; x0.shape().n()], Draw::new(4).at(step))
                    .expect("a loss");
                lanes.read().expect("a download").iter().map(|v| f64::from(*v)).sum()
            })
            .collect();
        let (loss, error) = mean_and_error(&losses);

        let model = &trainer.scorer.model;
        let chain = DdpmChain::new(Chain::new(&*model.process, config.model.num_scales));
        let time = |i: usize| model.chain_time(i, chain.len(), chain.marginal(i));
        let times: Vec<f64> = (0..chain.len()).map(time).collect();
        let mut bound = Bound::new(chain.clone(), -1.0);
        for seed in 0..4 {
            let key = Key::new(seed, Purpose::Other(1));
            bound.add(&bound.measure(&trainer.scorer, &times, &x0, key, &mut || Ok(())).expect("a bound"));
        }
        let terms = bound.terms(kind);
        let constant: f64 = (1..chain.len()).map(|i| 64.0 * chain.variance_divergence(i, kind)).sum();
        let expected = terms.total() - terms.prior - constant;
        println!("{variance}: {loss} ± {error}, the bound's {expected}");
        // The tolerance covers the noise of 120 draws at each step and of as many at random steps.
        assert!((loss - expected).abs() < 6.0 * error, "{variance}: {loss} ± {error} is not {expected}");
        assert!(error < 0.1 * expected, "a standard error of {error} is too large to conclude anything");
    }
}
