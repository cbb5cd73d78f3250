//! Distributions with a score in closed form at every time, as targets of samplers and likelihoods, and the
//! statistics of the comparison.

use tweedie::gpu::Gpu;
use tweedie::kernels::combine::Form;
use tweedie::kernels::layout;
use tweedie::sample::{Adjoint, Evaluation, Pullback, Result, Score, Tangents, Times};
use tweedie::sde::Process;
use tweedie::tensor::{Shape, Tensor};

/// A mixture of Gaussians with diagonal covariances, diffused by a process. It is evaluated in float64 on the
/// host; points are tensors `[n, 1, 1, d]`.
pub struct Mixture {
    pub process: &'static dyn Process,
    pub components: Vec<Component>,
    gpu: Gpu,
}

/// One Gaussian of a mixture.
#[derive(Clone)]
pub struct Component {
    pub weight: f64,
    pub mean: Vec<f64>,
    pub variance: Vec<f64>,
}

/// A mixture at a point: log density, score, and each component's share and score.
struct Local {
    log_density: f64,
    score: Vec<f64>,
    parts: Vec<(f64, Vec<f64>)>,
}

impl Mixture {
    pub fn new(gpu: &Gpu, process: &'static dyn Process, components: Vec<Component>) -> Mixture {
        Mixture { process, components, gpu: gpu.clone() }
    }

    /// One Gaussian of two dimensions.
    pub fn gaussian(gpu: &Gpu, process: &'static dyn Process) -> Mixture {
        let only = Component { weight: 1.0, mean: vec![0.4, -0.2], variance: vec![0.25, 0.04] };
        Mixture::new(gpu, process, vec![only])
    }

    /// Eight Gaussians of two dimensions on a circle of radius 1, with weights from 1/36 to 8/36.
    pub fn eight(gpu: &Gpu, process: &'static dyn Process) -> Mixture {
        let component = |k: usize| {
            let angle = std::f64::consts::TAU * k as f64 / 8.0;
            Component {
                weight: (k + 1) as f64 / 36.0,
                mean: vec![angle.cos(), angle.sin()],
                variance: vec![0.01; 2],
            }
        };
        Mixture::new(gpu, process, (0..8).map(component).collect())
    }

    pub fn dimensions(&self) -> usize {
        self.components[0].mean.len()
    }

    /// log p at a point and a time of the process, in nats.
    pub fn log_density(&self, x: &[f64], t: f64) -> f64 {
        let marginal = self.process.marginal_prob(t);
        self.local(x, marginal.mean, marginal.std).log_density
    }

    /// Mean and covariance (row by row) of the data.
    pub fn moments(&self) -> (Vec<f64>, Vec<f64>) {
        let d = self.dimensions();
        let sum =
            |f: &dyn Fn(&Component) -> f64| self.components.iter().map(|c| c.weight * f(c)).sum::<f64>();
        let mean: Vec<f64> = (0..d).map(|i| sum(&|c| c.mean[i])).collect();
        let entry = |i: usize, j: usize| {
            let own = sum(&|c| if i == j { c.variance[i] } else { 0.0 });
            own + sum(&|c| (c.mean[i] - mean[i]) * (c.mean[j] - mean[j]))
        };
        let covariance = (0..d * d).map(|k| entry(k / d, k % d)).collect();
        (mean, covariance)
    }

    /// Exact draws from the data, consecutive points.
    pub fn draws(&self, n: usize, seed: u64) -> Vec<f64> {
        use tweedie::random::{Key, Purpose};
        let key = Key::new(seed, Purpose::Other(77));
        let d = self.dimensions();
        let draw = |i: usize| {
            let mut u = f64::from(key.uniform(i as u32, 0)[0]);
            let chosen = self.components.iter().find(|c| {
                u -= c.weight;
                u < 0.0
            });
            let c = chosen.unwrap_or(&self.components[0]);
            (0..d).map(move |j| {
                let z = f64::from(key.normal(i as u32, 1 + j as u32 / 4)[j % 4]);
                c.mean[j] + c.variance[j].sqrt() * z
            })
        };
        (0..n).flat_map(draw).collect()
    }

    /// The diffused mixture m x₀ + s z at a point.
    fn local(&self, x: &[f64], m: f64, s: f64) -> Local {
        let part = |c: &Component| {
            let mut log = c.weight.ln();
            let mut score = Vec::with_capacity(x.len());
            for (i, x) in x.iter().enumerate() {
                let variance = m * m * c.variance[i] + s * s;
                let d = x - m * c.mean[i];
                log -= 0.5 * (d * d / variance + (std::f64::consts::TAU * variance).ln());
                score.push(-d / variance);
            }
            (log, score)
        };
        let parts: Vec<(f64, Vec<f64>)> = self.components.iter().map(part).collect();
        let top = parts.iter().fold(f64::NEG_INFINITY, |top, (log, _)| top.max(*log));
        let total: f64 = parts.iter().map(|(log, _)| (log - top).exp()).sum();
        let log_density = top + total.ln();
        let parts: Vec<(f64, Vec<f64>)> =
            parts.into_iter().map(|(log, score)| ((log - log_density).exp(), score)).collect();
        let score = (0..x.len()).map(|i| parts.iter().map(|(r, g)| r * g[i]).sum()).collect();
        Local { log_density, score, parts }
    }

    /// The score's derivative at a point in a direction: Σ r (g (g · v) − v / variance) − score (score · v).
    fn derivative(&self, x: &[f64], v: &[f64], m: f64, s: f64) -> Vec<f64> {
        let local = self.local(x, m, s);
        let dot = |g: &[f64]| g.iter().zip(v).map(|(g, v)| g * v).sum::<f64>();
        let along = dot(&local.score);
        let entry = |i: usize| {
            let parts = self.components.iter().zip(&local.parts);
            let curved = parts.map(|(c, (r, g))| {
                let variance = m * m * c.variance[i] + s * s;
                r * (g[i] * dot(g) - v[i] / variance)
            });
            curved.sum::<f64>() - local.score[i] * along
        };
        (0..x.len()).map(entry).collect()
    }
}

impl Mixture {
    /// Scores and their derivatives along the tangents of a stack `[x; ẋ₁; …; ẋ_K]`.
    fn stack(&self, stack: &Tensor, probes: usize, t: &Times) -> Result<Tensor> {
        let shape = stack.shape();
        let d = shape.with_n(1).len();
        let values: Vec<f64> = stack.read()?.iter().map(|v| f64::from(*v)).collect();
        let rows: Vec<&[f64]> = values.chunks(d).collect();
        let n = rows.len() / (1 + probes);
        let mut out = Vec::with_capacity(values.len());
        for (i, row) in rows.iter().enumerate() {
            let marginal = self.process.marginal_prob(t.get(i % n));
            let (x, m, s) = (rows[i % n], marginal.mean, marginal.std);
            let value = match i < n {
                true => self.local(x, m, s).score,
                false => self.derivative(x, row, m, s),
            };
            out.extend(value.iter().map(|v| *v as f32));
        }
        Ok(Tensor::from_slice(&self.gpu, shape, &out)?)
    }
}

impl Score for Mixture {
    fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    fn process(&self) -> &dyn Process {
        self.process
    }

    fn at(&self, x: &Tensor, t: &Times) -> Result<Evaluation> {
        Ok(Evaluation::new(x, Form::from(&self.stack(x, 0, t)?), self.process(), t))
    }
}

impl Tangents for Mixture {
    fn tangents(&self, stack: &Tensor, probes: usize, t: &Times) -> Result<Form> {
        Ok(Form::from(&self.stack(stack, probes, t)?))
    }
}

/// The derivative of a gradient is symmetric: its adjoint is its tangent.
impl Adjoint for Mixture {
    fn adjoint(&self, x: &Tensor, t: &Times) -> Result<(Evaluation, Pullback<'_>)> {
        let at = self.at(x, t)?;
        let (n, x, t) = (x.shape().n(), x.clone(), t.clone());
        let pullback = move |u: Form| {
            let image = self.stack(&layout::stack(&[&x, &u.run()?])?, 1, &t)?;
            Ok(Form::from(&layout::samples(&image, n, n)?))
        };
        Ok((at, Box::new(pullback)))
    }
}

/// States at time 1 from the diffused mixture rather than from the prior, `[n, 1, 1, d]`, so that every error
/// of a sample is the solver's.
pub fn diffused(mixture: &Mixture, n: usize, seed: u64) -> Tensor {
    use tweedie::random::{Key, Purpose};
    let (d, end) = (mixture.dimensions(), mixture.process.marginal_prob(1.0));
    let key = Key::new(seed, Purpose::Other(78));
    let noise = |i: usize| f64::from(key.normal(0, i as u32 / 4)[i % 4]);
    let x: Vec<f32> = mixture
        .draws(n, seed)
        .iter()
        .enumerate()
        .map(|(i, x0)| (end.mean * x0 + end.std * noise(i)) as f32)
        .collect();
    Tensor::from_slice(&mixture.gpu, Shape::new(n, 1, 1, d), &x).expect("an upload")
}

/// Asserts that the mean and the covariance of samples (consecutive points of the mixture's dimensions) are
/// the mixture's, within `errors` standard errors and a solver's bias of `bias`.
pub fn assert_moments(what: &str, samples: &[f64], mixture: &Mixture, errors: f64, bias: f64) {
    let d = mixture.dimensions();
    let n = (samples.len() / d) as f64;
    let (mean, covariance) = mixture.moments();
    let average = |f: &dyn Fn(&[f64]) -> f64| {
        let values: Vec<f64> = samples.chunks(d).map(f).collect();
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, (variance / n).sqrt())
    };
    for i in 0..d {
        let (actual, error) = average(&|x| x[i]);
        let off = (actual - mean[i]).abs();
        assert!(off <= errors * error + bias, "{what}: mean {i} is {actual}, not {}; {error:.1e}", mean[i]);
        for j in i..d {
            let expected = covariance[i * d + j];
            let (actual, error) = average(&|x| (x[i] - mean[i]) * (x[j] - mean[j]));
            let off = (actual - expected).abs();
            assert!(
                off <= errors * error + bias,
                "{what}: covariance {i} {j} is {actual}, not {expected}; {error:.1e}"
            );
        }
    }
}

/// Asserts that the share of samples nearest to each component's mean is its weight, within `errors` standard
/// errors and a solver's bias of `bias`.
pub fn assert_weights(what: &str, samples: &[f64], mixture: &Mixture, errors: f64, bias: f64) {
    let d = mixture.dimensions();
    let n = (samples.len() / d) as f64;
    let distance =
        |x: &[f64], c: &Component| -> f64 { x.iter().zip(&c.mean).map(|(x, m)| (x - m).powi(2)).sum() };
    let mut counts = vec![0.0; mixture.components.len()];
    for x in samples.chunks(d) {
        let nearest = (0..counts.len())
            .min_by(|a, b| {
                let of = |k: &usize| distance(x, &mixture.components[*k]);
                of(a).total_cmp(&of(b))
            })
            .expect("a component");
        counts[nearest] += 1.0;
    }
    for (k, component) in mixture.components.iter().enumerate() {
        let (share, w) = (counts[k] / n, component.weight);
        let error = (w * (1.0 - w) / n).sqrt();
        assert!(
            (share - w).abs() <= errors * error + bias,
            "{what}: mode {k} has {share}, not {w}; {error:.1e}"
        );
    }
}

/// The sliced Wasserstein distance W₂ between two sets of equally many points in two dimensions, over 16
/// directions.
pub fn sliced_wasserstein(a: &[f64], b: &[f64]) -> f64 {
    let directions = 16;
    let along = |points: &[f64], angle: f64| -> Vec<f64> {
        let mut values: Vec<f64> =
            points.chunks(2).map(|x| angle.cos() * x[0] + angle.sin() * x[1]).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let square = |k: usize| {
        let angle = std::f64::consts::PI * k as f64 / directions as f64;
        let (a, b) = (along(a, angle), along(b, angle));
        a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64
    };
    ((0..directions).map(square).sum::<f64>() / directions as f64).sqrt()
}

mod tests {
    use super::*;
    use crate::support::gpu;
    use tweedie::sde::{Ve, Vp};

    #[test]
    fn a_mixtures_score_is_the_gradient_of_its_log_density_and_its_tangent_the_derivative_of_that() {
        let mixture = Mixture::eight(gpu(), &Vp { beta_min: 0.1, beta_max: 20.0 });
        let (x, v, m, s, h) = ([0.3, -0.8], [0.6, 1.1], 0.7, 0.4, 1e-5);
        let moved = |sign: f64, by: &[f64; 2]| [x[0] + sign * h * by[0], x[1] + sign * h * by[1]];
        let local = mixture.local(&x, m, s);
        for (i, unit) in [[1.0, 0.0], [0.0, 1.0]].iter().enumerate() {
            let at = |sign| mixture.local(&moved(sign, unit), m, s).log_density;
            assert!(((at(1.0) - at(-1.0)) / (2.0 * h) - local.score[i]).abs() < 1e-6);
        }
        let derivative = mixture.derivative(&x, &v, m, s);
        for (i, derivative) in derivative.iter().enumerate() {
            let at = |sign| mixture.local(&moved(sign, &v), m, s).score[i];
            assert!(((at(1.0) - at(-1.0)) / (2.0 * h) - derivative).abs() < 1e-6);
        }
    }

    #[test]
    fn exact_draws_pass_every_check_and_others_do_not() {
        let mixture = Mixture::eight(gpu(), &Ve { sigma_min: 0.01, sigma_max: 5.0 });
        let draws = mixture.draws(4000, 1);
        assert_moments("draws", &draws, &mixture, 5.0, 0.0);
        assert_weights("draws", &draws, &mixture, 5.0, 0.0);
        assert!(sliced_wasserstein(&draws, &mixture.draws(4000, 2)) < 0.08);
        let wrong: Vec<f64> = draws.iter().map(|v| 1.1 * v).collect();
        assert!(sliced_wasserstein(&draws, &wrong) > 0.05);
        let checked = std::panic::AssertUnwindSafe(|| assert_moments("wrong", &wrong, &mixture, 5.0, 0.0));
        assert!(std::panic::catch_unwind(checked).is_err());
    }
}
