//! A likelihood: log p of points under the probability flow (Song 2021, eq. 39), held against the density itself.
//!
//! The same call takes a trained model: `Checkpoint::read(path)?.scorer(&gpu, Weights::Ema)?` in place of the score here.
//!
//! ```text
//! cargo run --release --example likelihood
//! ```

use tweedie::kernels::hutchinson::Probe;
use tweedie::prelude::*;
use tweedie::sample::dormand_prince::Tolerance;
use tweedie::sample::likelihood::{Probing, log_likelihood};
use tweedie::sample::{Ode, Result};

/// Data N(0, c I).
struct Gaussian {
    gpu: Gpu,
    process: SubVp,
    c: f64,
}

impl Gaussian {
    /// −1 / v, the factor of x in the score, where v is the variance at a time.
    fn slope(&self, t: &Times) -> Times {
        t.map(|t| {
            let Marginal { mean, std } = self.process.marginal_prob(t);
            -1.0 / (mean * mean * self.c + std * std)
        })
    }
}

impl Score for Gaussian {
    fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    fn process(&self) -> &dyn Process {
        &self.process
    }

    fn at(&self, x: &Tensor, t: &Times) -> Result<Evaluation> {
        Ok(Evaluation::new(x, x * self.slope(t), &self.process, t))
    }
}

/// A likelihood needs the score's tangents. This score is linear: a tangent is its image.
impl Tangents for Gaussian {
    fn tangents(&self, stack: &Tensor, _: usize, t: &Times) -> Result<Form> {
        Ok(stack * self.slope(t))
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (n, d) = (8, 4);
    let process = SubVp { beta_min: 0.1, beta_max: 20.0 };
    let score = Gaussian { gpu: Gpu::open(None)?, process, c: 0.3 };
    let points: Vec<f32> = (0..n * d).map(|i| 0.6 * (i as f32).sin()).collect();
    let x = Tensor::from_slice(&score.gpu, Shape::new(n, 1, 1, d), &points)?;

    let tolerance = Tolerance { relative: 1e-5, absolute: 1e-5 };
    let ode = Ode { tolerance, error_norm: tweedie::config::Over::Sample, noise_removal: false };
    let estimate = Probing::Drawn { count: 4, kind: Probe::Rademacher, draw: Draw::new(3), first: 0 };
    for (name, probing) in [("exact trace", Probing::Exact), ("4 probes", estimate)] {
        let likelihood = log_likelihood(&score, &x, probing, &ode, &mut |_| Ok(()))?;
        let mut worst = 0.0f64;
        for (sample, x) in likelihood.samples.iter().zip(points.chunks(d)) {
            let square: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
            let log_density = -0.5 * (d as f64 * (std::f64::consts::TAU * 0.3).ln() + square / 0.3);
            worst = worst.max((sample.logp() - log_density).abs());
        }
        println!("{name}: {} evaluations, at most {worst:.1e} nats off", likelihood.calls);
        if worst > 2e-3 {
            return Err(format!("{name}: log p is {worst} off").into());
        }
    }
    Ok(())
}
