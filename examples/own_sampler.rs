//! A sampler of one's own: the midpoint method on the probability flow, DPM-Solver-2 in σ (Karras 2022, algorithm 3 with
//! α = ½; Lu 2022a), held against the exact flow of a Gaussian.
//!
//! ```text
//! cargo run --release --example own_sampler
//! ```

use tweedie::config::{Sampling, Schedule};
use tweedie::prelude::*;
use tweedie::sample::{Driver, Grid, Result, Sampled, Watch};

/// Two evaluations a step: the slope at the geometric mean of a step's noise levels makes the step.
struct Midpoint {
    grid: Grid,
}

impl Sampler for Midpoint {
    fn steps(&self) -> Option<usize> {
        Some(self.grid.steps)
    }

    fn run(&self, score: &dyn Score, mut x: Tensor, _: Draw, watch: &mut Watch<'_>) -> Result<Sampled> {
        let mut run = Driver::new(score, watch);
        let process = score.process();
        for (i, pair) in self.grid.levels(process)?.windows(2).enumerate() {
            let (from, to) = (pair[0], pair[1]);
            let middle = process.level_of((from.sigma * to.sigma).sqrt());
            // In x̃ = x / m the flow is dx̃/dσ = (x̃ − D) / σ.
            let d = (&x / from.mean - run.at(&x, &from.t.into())?.denoised()) / from.sigma;
            let half = ((&x / from.mean + d * (middle.sigma - from.sigma)) * middle.mean).run()?;
            let d = (&half / middle.mean - run.at(&half, &middle.t.into())?.denoised()) / middle.sigma;
            x = ((&x / from.mean + d * (to.sigma - from.sigma)) * to.mean).run()?;
            run.stepped(i + 1, to.t, &x)?;
        }
        Ok(run.sampled(x))
    }
}

/// Data N(0, c I), whose flow scales x by the standard deviation √(m² c + s²).
struct Gaussian {
    gpu: Gpu,
    process: Vp,
    c: f64,
}

impl Gaussian {
    fn variance(&self, t: f64) -> f64 {
        let Marginal { mean, std } = self.process.marginal_prob(t);
        mean * mean * self.c + std * std
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
        Ok(Evaluation::new(x, x * t.map(|t| -1.0 / self.variance(t)), &self.process, t))
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let process = Vp { beta_min: 0.1, beta_max: 20.0 };
    let score = Gaussian { gpu: Gpu::open(None)?, process, c: 0.3 };
    let draw = Draw::new(1);
    let start = prior(&score, Shape::new(16, 1, 1, 4), draw)?;
    let scale = (score.variance(process.sampling_eps()) / score.variance(1.0)).sqrt() as f32;
    let exact: Vec<f32> = start.read()?.iter().map(|v| v * scale).collect();

    let config = Sampling { noise_removal: false, schedule: Some(Schedule::LogSnr), ..Sampling::default() };
    let mut errors = Vec::new();
    for steps in [20, 40] {
        let sampler = Midpoint { grid: Grid::new(&config, steps)? };
        let sampled = sampler.run(&score, start.clone(), draw, &mut |_| Ok(()))?;
        let off = sampled.x.read()?.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{steps} steps, {} evaluations: at most {off:.1e} from the flow", sampled.evaluations);
        errors.push(off);
    }
    let order = (errors[0] / errors[1]).log2();
    println!("order {order:.2}");
    if (1.7..2.3).contains(&order) { Ok(()) } else { Err("the method is not of order 2".into()) }
}
