//! A score in closed form: two Gaussians in the plane, sampled by several solvers.
//!
//! No network is needed to use the samplers: anything with ∇ log p_t(x) at every time of a process is a score.
//!
//! ```text
//! cargo run --release --example closed_form_score
//! ```

use tweedie::config::{CorrectorName, Method, Sampling};
use tweedie::prelude::*;

/// Data on two points of the plane, blurred to a standard deviation of 0.1, with weights ¼ and ¾.
struct TwoGaussians {
    gpu: Gpu,
    process: Ve,
}

const CENTRES: [[f64; 2]; 2] = [[-1.0, 0.0], [1.0, 0.5]];
const WEIGHTS: [f64; 2] = [0.25, 0.75];
const STD: f64 = 0.1;

impl TwoGaussians {
    /// Σₖ rₖ (m cₖ − x) / v with the shares rₖ of the components at x, whose variance at the time is v.
    fn gradient(x: [f64; 2], Marginal { mean: m, std: s }: Marginal) -> [f64; 2] {
        let v = (m * STD).powi(2) + s * s;
        let off = CENTRES.map(|c| [m * c[0] - x[0], m * c[1] - x[1]]);
        let logs = [0, 1].map(|k| WEIGHTS[k].ln() - (off[k][0].powi(2) + off[k][1].powi(2)) / (2.0 * v));
        let share = 1.0 / (1.0 + (logs[1] - logs[0]).exp());
        [0, 1].map(|i| (share * off[0][i] + (1.0 - share) * off[1][i]) / v)
    }
}

impl Score for TwoGaussians {
    fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    fn process(&self) -> &dyn Process {
        &self.process
    }

    fn at(&self, x: &Tensor, t: &Times) -> tweedie::sample::Result<Evaluation> {
        let points = x.read()?;
        let gradients = points.chunks(2).enumerate().flat_map(|(i, x)| {
            let marginal = self.process.marginal_prob(t.get(i));
            TwoGaussians::gradient([x[0].into(), x[1].into()], marginal).map(|v| v as f32)
        });
        let score = Tensor::from_slice(&self.gpu, x.shape(), &gradients.collect::<Vec<f32>>())?;
        Ok(Evaluation::new(x, Form::from(&score), &self.process, t))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let score = TwoGaussians { gpu: Gpu::open(None)?, process: Ve { sigma_min: 0.01, sigma_max: 20.0 } };
    let (n, draw) = (1000, Draw::new(7));
    for (method, steps) in [(Method::Pc, 100), (Method::Heun, 20), (Method::Dpmpp3m, 20), (Method::Ode, 0)] {
        let start = prior(&score, Shape::new(n, 1, 1, 2), draw)?;
        // A sample's own norms say little in two dimensions, so the Langevin corrector stays out.
        let sampling = Sampling { method, corrector: CorrectorName::None, ..Sampling::default() };
        let sampler = sampler(&sampling, steps)?;
        let sampled = sampler.run(&score, start, draw, &mut |_| Ok(()))?;
        let points = sampled.x.read()?;
        let right = points.chunks(2).filter(|x| x[0] > 0.0).count() as f64 / n as f64;
        println!("{method:?}: {:.0} evaluations, {:.1} % on the right", sampled.evaluations, 100.0 * right);
        // Five standard errors of 1000 samples.
        if (right - WEIGHTS[1]).abs() > 5.0 * (0.25 * 0.75 / n as f64).sqrt() {
            return Err(format!("{method:?} draws {right} on the right, not {}", WEIGHTS[1]).into());
        }
    }
    Ok(())
}
