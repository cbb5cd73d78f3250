//! The exact density and score of a mixture in the plane, perturbed by a process: a mixture stays a mixture.

use crate::data::{Component, Mixture, Spread};
use crate::gpu::Gpu;
use crate::kernels::combine::Form;
use crate::random::{Draw, Key, Purpose};
use crate::sample::{Evaluation, Result, Score, Times};
use crate::sde::{Marginal, Process, log_mass};
use crate::tensor::{Shape, Tensor};
use std::f64::consts::TAU;

/// The density of a mixture under a perturbation kernel x = m x₀ + s z, at a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exact {
    /// log p(x), in nats.
    pub log_density: f64,
    /// ∇ log p(x).
    pub score: [f64; 2],
}

impl Exact {
    /// The density of a mixture at a point.
    pub fn at(mixture: &Mixture, marginal: Marginal, x: [f64; 2]) -> Exact {
        // log Σ exp, relative to the largest so far.
        let (mut top, mut sum, mut score) = (f64::NEG_INFINITY, 0.0, [0.0; 2]);
        for part in mixture.parts() {
            let own = Exact::of_part(part, marginal, x);
            if own.log_density > top {
                let shrink = (top - own.log_density).exp();
                (top, sum) = (own.log_density, sum * shrink);
                score = score.map(|v| v * shrink);
            }
            let share = (own.log_density - top).exp();
            if share > 0.0 {
                sum += share;
                score = [0, 1].map(|k| score[k] + share * own.score[k]);
            }
        }
        Exact { log_density: top + f64::ln(sum), score: score.map(|v| v / sum) }
    }

    /// The same of one part, its weight included.
    fn of_part(part: &Component, Marginal { mean: m, std: s }: Marginal, x: [f64; 2]) -> Exact {
        let d = [0, 1].map(|k| x[k] - m * part.centre[k]);
        match part.spread {
            Spread::Normal(std) => {
                let variance = (m * m * std * std + s * s).max(f64::MIN_POSITIVE);
                let square = d[0] * d[0] + d[1] * d[1];
                Exact {
                    log_density: part.weight.ln() - 0.5 * square / variance - (TAU * variance).ln(),
                    score: d.map(|d| -d / variance),
                }
            }
            // The convolution of a uniform and a normal distribution, in each coordinate.
            Spread::Square(half) => {
                let (half, s) = (m * half, s.max(1e-100));
                let log = |d: f64| log_mass((-half - d) / s, (half - d) / s);
                let normal = |u: f64| -0.5 * u * u - 0.5 * TAU.ln();
                let slope = |d: f64| {
                    let at = |edge: f64| (normal((edge - d) / s) - log(d)).exp();
                    (at(-half) - at(half)) / s
                };
                let width = (2.0 * half).ln();
                Exact {
                    log_density: part.weight.ln() + log(d[0]) + log(d[1]) - 2.0 * width,
                    score: d.map(slope),
                }
            }
        }
    }
}

/// The exact score of a mixture under a process. It is evaluated in float64 on the host, at points `[n, 1, 1, 2]`.
pub struct ExactScore<'a> {
    /// The mixture.
    pub mixture: &'a Mixture,
    /// The process.
    pub process: &'a dyn Process,
    /// The device of the points.
    pub gpu: &'a Gpu,
}

impl Score for ExactScore<'_> {
    fn gpu(&self) -> &Gpu {
        self.gpu
    }

    fn process(&self) -> &dyn Process {
        self.process
    }

    fn at(&self, x: &Tensor, t: &Times) -> Result<Evaluation> {
        let points = x.read()?;
        let score = points.chunks(2).enumerate().flat_map(|(i, x)| {
            let marginal = self.process.marginal_prob(t.get(i));
            Exact::at(self.mixture, marginal, [x[0], x[1]].map(f64::from)).score.map(|v| v as f32)
        });
        let score = Tensor::from_slice(self.gpu, x.shape(), &score.collect::<Vec<f32>>())?;
        Ok(Evaluation::new(x, Form::from(&score), self.process, t))
    }
}

/// The relative error of a score at a time, √(E |s − ŝ|² / E |s|²) over `n` points of the perturbed mixture, whose exact score
/// is s.
///
/// # Errors
/// Any error of the score.
pub fn score_error(score: &dyn Score, mixture: &Mixture, t: f64, n: usize, draw: Draw) -> Result<f64> {
    let marginal = score.process().marginal_prob(t);
    let (points, _) = mixture.draw(draw.key(Purpose::Points), n);
    let x: Vec<f32> = perturbed(&points, marginal, draw.key(Purpose::Evaluation));
    let x = Tensor::from_slice(score.gpu(), Shape::new(n, 1, 1, 2), &x)?;
    let exact = ExactScore { mixture, process: score.process(), gpu: score.gpu() };
    let at = |score: &dyn Score| -> Result<Vec<f32>> { Ok(score.at(&x, &t.into())?.score().run()?.read()?) };
    let (own, exact) = (at(score)?, at(&exact)?);
    let square = |f: &dyn Fn(usize) -> f32| (0..own.len()).map(|i| f64::from(f(i)).powi(2)).sum::<f64>();
    Ok((square(&|i| own[i] - exact[i]) / square(&|i| exact[i])).sqrt())
}

/// m x₀ + s z for points x₀, as consecutive coordinates.
fn perturbed(points: &[[f32; 2]], Marginal { mean, std }: Marginal, key: Key) -> Vec<f32> {
    let one = |(i, point): (usize, &[f32; 2])| {
        let z = key.normal(i as u32, 0);
        [0, 1].map(|k| (mean * f64::from(point[k]) + std * f64::from(z[k])) as f32)
    };
    points.iter().enumerate().flat_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Choice;
    use crate::config::Toy;

    const MARGINALS: [Marginal; 3] = [
        Marginal { mean: 1.0, std: 0.02 },
        Marginal { mean: 0.7, std: 0.4 },
        Marginal { mean: 0.1, std: 2.0 },
    ];

    #[test]
    fn the_score_is_the_gradient_of_the_log_density() {
        for toy in Toy::ALL {
            let mixture = Mixture::of(*toy);
            for marginal in MARGINALS {
                for x in [[0.3, -0.2], [-0.9, 0.45], [0.02, 0.8], [2.0, 1.0]] {
                    let h = 1e-4 * marginal.std;
                    let log = |x, y| Exact::at(&mixture, marginal, [x, y]).log_density;
                    let found = [
                        (log(x[0] + h, x[1]) - log(x[0] - h, x[1])) / (2.0 * h),
                        (log(x[0], x[1] + h) - log(x[0], x[1] - h)) / (2.0 * h),
                    ];
                    let score = Exact::at(&mixture, marginal, x).score;
                    let close = (0..2)
                        .all(|k| (found[k] - score[k]).abs() < 1e-4 * (1.0 + score[k].abs()) / marginal.std);
                    assert!(close, "{toy} {marginal:?} {x:?}: {found:?}, not {score:?}");
                }
            }
        }
    }

    /// The sum over a grid is exact for densities without frequencies beyond it; those of squares have edges of width s.
    #[test]
    fn the_density_integrates_to_1() {
        for toy in Toy::ALL {
            let mixture = Mixture::of(*toy);
            let marginal = Marginal { mean: 0.9, std: 0.05 };
            let (h, n) = (0.03, 100);
            let point = |k: i32| f64::from(k) * h;
            let density = |k: i32| {
                (-n / 2..n / 2)
                    .map(|l| Exact::at(&mixture, marginal, [point(k), point(l)]).log_density.exp())
                    .sum::<f64>()
            };
            let mass: f64 = (-n / 2..n / 2).map(density).sum::<f64>() * h * h;
            assert!((mass - 1.0).abs() < 1e-6, "{toy}: {mass}");
        }
    }
}
