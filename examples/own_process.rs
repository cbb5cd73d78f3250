//! A process of one's own: the cosine schedule of Nichol and Dhariwal (2021) in continuous time. It takes two functions to
//! train a network on it, to sample with any solver, and to have a likelihood.
//!
//! ```text
//! cargo run --release --example own_process
//! ```

use std::sync::Arc;
use tweedie::config::{CorrectorName, Method, Sampling};
use tweedie::data::{Dataset, Loader, Split};
use tweedie::kernels::hutchinson::Probe;
use tweedie::nn::ScoreModel;
use tweedie::prelude::*;
use tweedie::sample::Ode;
use tweedie::sample::likelihood::{Probing, log_likelihood};

/// m = cos(ωt), s = sin(ωt): variance preserving. ω is a little less than π/2, so that m stays above 0.
#[derive(Debug)]
struct Cosine;

const OMEGA: f64 = 0.99 * std::f64::consts::FRAC_PI_2;

impl Process for Cosine {
    fn log_mean(&self, t: f64) -> f64 {
        (OMEGA * t).cos().ln()
    }

    fn variance(&self, t: f64) -> f64 {
        (OMEGA * t).sin().powi(2)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(None)?;
    let mut config = Config::preset("digits_vp")?;
    (config.model.nf, config.model.ch_mult, config.training.batch_size) = (16, vec![1, 2], 16);
    (config.optim.lr, config.optim.warmup, config.model.ema_rate) = (2e-3, 10, 0.9);

    let model = ScoreModel::build(&config)?.with_process(Arc::new(Cosine))?;
    let mut trainer = Trainer::of(&gpu, &config, model)?;
    let mut loader = Loader::new(Dataset::digits(Split::Train)?, &config.data, 16, config.seed)?;
    let mut losses = Vec::new();
    for step in 0..60 {
        trainer.step(&loader.batch(step)?)?;
        if step % 20 == 19 {
            losses.extend(trainer.report()?.map(|report| report.loss));
        }
    }
    println!("loss {losses:.1?}");

    let (score, draw) = (trainer.averaged(), Draw::new(1));
    for (method, steps) in
        [(Method::Pc, 20), (Method::Heun, 8), (Method::Dpmpp2m, 8), (Method::AdaptiveSde, 0)]
    {
        let sampling =
            Sampling { method, corrector: CorrectorName::None, sde_rtol: 0.3, ..Sampling::default() };
        let start = prior(&score, Shape::new(4, 8, 8, 1), draw)?;
        let sampled = sampler(&sampling, steps)?.run(&score, start, draw, &mut |_| Ok(()))?;
        let finite = sampled.x.read()?.iter().all(|v| v.is_finite());
        println!("{method:?}: {:.0} evaluations, finite: {finite}", sampled.evaluations);
        if !finite {
            return Err("a sample is not finite".into());
        }
    }

    let ode = Ode::new(&Sampling { rtol: 1e-2, atol: 1e-2, ..Sampling::default() });
    let x = Tensor::from_slice(&gpu, Shape::new(16, 8, 8, 1), &loader.batch(0)?.images)?;
    let probing = Probing::Drawn { count: 1, kind: Probe::Rademacher, draw, first: 0 };
    let likelihood = log_likelihood(&score, &x, probing, &ode, &mut |_| Ok(()))?;
    let bits: f64 = likelihood.samples.iter().map(|sample| sample.bits_per_dim(64, true)).sum::<f64>() / 16.0;
    println!("{bits:.2} bits/dim of 16 training digits");
    if losses[2] < 0.9 * losses[0] && (2.0..9.0).contains(&bits) {
        Ok(())
    } else {
        Err(format!("losses {losses:?}, {bits} bits/dim").into())
    }
}
