//! DDPM's variational bound of data (Ho 2020, eq. 5): term by term, and as rate against distortion.

use crate::kernels::inner_product::{inner_product, lanes};
use crate::kernels::random::{Distribution, Noise, fill};
use crate::kernels::score_matching::{self, Coefficients};
use crate::kernels::sde_step::{Factors, sde_step_each};
use crate::kernels::{KernelError, Result};
use crate::nn::Label;
use crate::random::Key;
use crate::sample::Score;
use crate::sde::{Chain, PosteriorVariance};
use crate::tensor::Tensor;
use bytemuck::Zeroable;

/// The bound of images, whichever variance the reverse steps have.
pub struct Bound {
    chain: Chain,
    /// The smallest grey level in the model's range.
    low: f64,
    dimensions: usize,
    /// L_T of each image, in nats.
    prior: Vec<f64>,
    /// ‖ε − ε_θ‖² at each step, of each image.
    errors: Vec<Vec<f64>>,
    /// L_0 of each image, in nats.
    decoder: Vec<f64>,
}

/// The bound's terms in nats, means over images.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// L_T: what the last state costs.
    pub prior: f64,
    /// L_{t−1} for t from 2 on: what each reverse step costs.
    pub steps: Vec<f64>,
    /// L_0: what the levels cost, given the state of the first step.
    pub decoder: f64,
}

impl Terms {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.rate(0) + self.decoder
    }

    /// What has been spent once the state of step i is known, counted from 0: L_T and the steps above.
    pub fn rate(&self, i: usize) -> f64 {
        self.prior + self.steps.get(i..).unwrap_or_default().iter().sum::<f64>()
    }
}

impl Bound {
    /// Of no images yet, `low` being the smallest grey level in the model's range.
    pub fn new(chain: Chain, low: f64) -> Bound {
        let errors = vec![Vec::new(); chain.len()];
        Bound { chain, low, dimensions: 0, prior: Vec::new(), errors, decoder: Vec::new() }
    }

    /// Adds images `[n, h, w, c]` in the model's range, at every step of the chain with noise of `key`. `labels` are those
    /// of the steps; `watch` is told of every step.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn add(
        &mut self,
        score: &dyn Score,
        labels: &[Label],
        x0: &Tensor,
        key: Key,
        watch: &mut dyn FnMut(),
    ) -> Result<()> {
        let shape = x0.shape();
        self.dimensions = shape.with_n(1).len();
        let norms = lanes(&inner_product(x0, x0)?)?;
        self.prior.extend(norms.iter().map(|norm| self.chain.prior_divergence(self.dimensions, *norm)));
        for (i, label) in labels.iter().enumerate() {
            let marginal = self.chain.marginal(i);
            let z = fill(x0.gpu(), shape, key.at(i as u32), Distribution::Normal { std: 1.0 })?;
            let perturbation =
                Coefficients { mean: marginal.mean as f32, std: marginal.std as f32, ..Zeroable::zeroed() };
            let perturbation = score_matching::upload(x0.gpu(), &vec![perturbation; shape.n()])?;
            let x = score_matching::perturb(x0, Noise::Given(&z), &perturbation)?;
            let out = score.network(&x, &vec![*label; shape.n()])?;
            let residual = label.residual(marginal);
            let factors = Factors::new(&[residual.z, residual.out, residual.x0], 0.0);
            let error = sde_step_each(&[&z, &out, x0], &vec![factors; shape.n()], None)?;
            self.errors[i].extend(lanes(&inner_product(&error, &error)?)?);
            if i == 0 {
                self.decode(x0, &error)?;
            }
            watch();
        }
        Ok(())
    }

    /// L_0: the decoder's mean is x̂₀, which is s / m of the noise's error from x₀.
    fn decode(&mut self, x0: &Tensor, error: &Tensor) -> Result<()> {
        let marginal = self.chain.marginal(0);
        let (x0, error) = (x0.read().map_err(KernelError::from)?, error.read().map_err(KernelError::from)?);
        let cost = |(level, error): (&f32, &f32)| {
            let mean = f64::from(*level) + marginal.std / marginal.mean * f64::from(*error);
            self.chain.decode(f64::from(*level), mean, self.low)
        };
        let costs: Vec<f64> = x0.iter().zip(&error).map(cost).collect();
        self.decoder.extend(costs.chunks(self.dimensions).map(|image| image.iter().sum::<f64>()));
        Ok(())
    }

    /// The terms with reverse steps of a variance.
    pub fn terms(&self, variance: PosteriorVariance) -> Terms {
        let step = |i: usize| mean(&self.step(i, variance));
        Terms {
            prior: mean(&self.prior),
            steps: (1..self.chain.len()).map(step).collect(),
            decoder: mean(&self.decoder),
        }
    }

    /// The standard error of the whole bound over images, in nats; not a number of one image.
    pub fn standard_error(&self, variance: PosteriorVariance) -> f64 {
        let mut totals: Vec<f64> = self.prior.iter().zip(&self.decoder).map(|(a, b)| a + b).collect();
        for i in 1..self.chain.len() {
            totals.iter_mut().zip(self.step(i, variance)).for_each(|(total, step)| *total += step);
        }
        let (n, mean) = (totals.len() as f64, mean(&totals));
        (totals.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n * (n - 1.0))).sqrt()
    }

    /// The divergence of a step, of each image.
    fn step(&self, i: usize, variance: PosteriorVariance) -> Vec<f64> {
        let constant = self.dimensions as f64 * self.chain.variance_divergence(i, variance);
        let weight = self.chain.error_weight(i, variance);
        self.errors[i].iter().map(|error| weight * error + constant).collect()
    }

    /// How far x̂₀ is from x₀ at a step: the root of the mean square over pixels and images, in grey levels of 0 to 255
    /// (Ho 2020, section 4.3).
    pub fn distortion(&self, i: usize) -> f64 {
        let marginal = self.chain.marginal(i);
        let square = mean(&self.errors[i]) / self.dimensions as f64;
        255.0 / (1.0 - self.low) * marginal.std / marginal.mean * square.sqrt()
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
