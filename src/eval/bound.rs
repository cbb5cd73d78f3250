//! DDPM's variational bound on −log p of data (Ho 2020, eq. 5), term by term, and as rate and distortion.

use crate::kernels::random::{Distribution, Noise, fill};
use crate::kernels::score_matching::{self, Coefficients};
use crate::random::Key;
use crate::sample::{Result, Score};
use crate::sde::{DdpmChain, PosteriorVariance};
use crate::tensor::Tensor;
use bytemuck::Zeroable;
use serde::{Deserialize, Serialize};

/// The bound of a set of images, for either variance of the reverse steps.
pub struct Bound {
    chain: DdpmChain,
    /// The smallest grey level in the model's range.
    low: f64,
    images: Measured,
}

/// Images, measured at every step of a chain.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    dimensions: usize,
    /// L_T of each image, in nats.
    prior: Vec<f64>,
    /// ‖ε − ε_θ‖² at each step, for each image.
    errors: Vec<Vec<f64>>,
    /// ‖x₀ − x̂₀‖² at each step, summed over the images.
    distortions: Vec<f64>,
    /// L_0 of each image, in nats.
    decoder: Vec<f64>,
}

/// The bound's terms in nats, means over images.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// L_T: the divergence of the last state from the prior.
    pub prior: f64,
    /// L_{t−1} for t = 2, 3, …: the divergence of each reverse step.
    pub steps: Vec<f64>,
    /// L_0: the decoder's −log p(x₀ | x₁) of the grey levels.
    pub decoder: f64,
}

impl Terms {
    /// The bound: the sum of all terms.
    pub fn total(&self) -> f64 {
        self.rate(0) + self.decoder
    }

    /// The rate at step i, counted from 0: L_T and the divergences of the steps above i (Ho 2020, section
    /// 4.3).
    pub fn rate(&self, i: usize) -> f64 {
        self.prior + self.steps.get(i..).unwrap_or_default().iter().sum::<f64>()
    }
}

impl Bound {
    /// A bound without images. `low` is the smallest grey level in the model's range: 0, or −1 if centred.
    pub fn new(chain: DdpmChain, low: f64) -> Bound {
        let images = Measured::new(chain.len());
        Bound { chain, low, images }
    }

    /// Adds measured images.
    pub fn add(&mut self, images: &Measured) {
        let Measured { dimensions, prior, errors, distortions, decoder } = images;
        self.images.dimensions = *dimensions;
        self.images.prior.extend(prior);
        self.images.errors.iter_mut().zip(errors).for_each(|(all, errors)| all.extend(errors));
        self.images.distortions.iter_mut().zip(distortions).for_each(|(all, distortion)| *all += distortion);
        self.images.decoder.extend(decoder);
    }

    /// Measures images `[n, h, w, c]` in the model's range, perturbed at every step of the chain with noise drawn
    /// from `key`. `times` holds the score's time for each step; `watch` is called after each step.
    ///
    /// # Errors
    /// Any error of the score, or of `watch`.
    pub fn measure(
        &self,
        score: &dyn Score,
        times: &[f64],
        x0: &Tensor,
        key: Key,
        watch: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Measured> {
        let shape = x0.shape();
        let dimensions = shape.with_n(1).len();
        let levels: Vec<f64> = host(x0)?;
        let norms = squares(&levels, dimensions);
        let prior = norms.into_iter().map(|norm| self.chain.prior_divergence(dimensions, norm)).collect();
        let mut images = Measured { dimensions, prior, ..Measured::new(self.chain.len()) };
        for (i, t) in times.iter().enumerate() {
            let marginal = self.chain.marginal(i);
            let z = fill(x0.gpu(), shape, key.at(i as u32), Distribution::Normal { std: 1.0 })?;
            let perturbation =
                Coefficients { mean: marginal.mean as f32, std: marginal.std as f32, ..Zeroable::zeroed() };
            let perturbation = score_matching::upload(x0.gpu(), &vec![perturbation; shape.n()])?;
            let x = score_matching::perturb(x0, Noise::Given(&z), &perturbation)?;
            let error = host(&(&z + score.at(&x, &(*t).into())?.score() * marginal.std).run()?)?;
            images.errors[i] = squares(&error, dimensions);
            // x̂₀ = x₀ + (s / m) (ε − ε_θ).
            let estimates: Vec<f64> = levels
                .iter()
                .zip(&error)
                .map(|(x0, error)| x0 + marginal.std / marginal.mean * error)
                .collect();
            let off = |(x0, estimate): (&f64, &f64)| (x0 - estimate.clamp(self.low, 1.0)).powi(2);
            images.distortions[i] = levels.iter().zip(&estimates).map(off).sum::<f64>();
            if i == 0 {
                images.decoder = self.decode(&levels, &estimates, dimensions);
            }
            watch()?;
        }
        Ok(images)
    }

    /// L_0: the decoder's mean is x̂₀.
    fn decode(&self, levels: &[f64], estimates: &[f64], dimensions: usize) -> Vec<f64> {
        let cost = |(level, mean): (&f64, &f64)| self.chain.decode(*level, *mean, self.low);
        let costs: Vec<f64> = levels.iter().zip(estimates).map(cost).collect();
        costs.chunks(dimensions).map(|image| image.iter().sum()).collect()
    }

    /// The terms for a variance of the reverse steps.
    pub fn terms(&self, variance: PosteriorVariance) -> Terms {
        let step = |i: usize| mean(&self.step(i, variance));
        Terms {
            prior: mean(&self.images.prior),
            steps: (1..self.chain.len()).map(step).collect(),
            decoder: mean(&self.images.decoder),
        }
    }

    /// The bound of each image, in nats.
    pub fn totals(&self, variance: PosteriorVariance) -> Vec<f64> {
        let Measured { prior, decoder, .. } = &self.images;
        let mut totals: Vec<f64> = prior.iter().zip(decoder).map(|(a, b)| a + b).collect();
        for i in 1..self.chain.len() {
            totals.iter_mut().zip(self.step(i, variance)).for_each(|(total, step)| *total += step);
        }
        totals
    }

    /// The standard error over images of the mean bound, in nats; NaN for fewer than two images.
    pub fn standard_error(&self, variance: PosteriorVariance) -> f64 {
        let totals = self.totals(variance);
        let (n, mean) = (totals.len() as f64, mean(&totals));
        (totals.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n * (n - 1.0))).sqrt()
    }

    /// The divergence of step i for each image.
    fn step(&self, i: usize, variance: PosteriorVariance) -> Vec<f64> {
        let constant = self.images.dimensions as f64 * self.chain.variance_divergence(i, variance);
        let weight = self.chain.error_weight(i, variance);
        self.images.errors[i].iter().map(|error| weight * error + constant).collect()
    }

    /// The distortion at step i: the root mean square of x₀ − x̂₀ over pixels and images, with x̂₀ clipped to
    /// the range of images, in grey levels from 0 to 255 (Ho 2020, section 4.3).
    pub fn distortion(&self, i: usize) -> f64 {
        let Measured { dimensions, prior, distortions, .. } = &self.images;
        let square = distortions[i] / (prior.len() * dimensions) as f64;
        255.0 / (1.0 - self.low) * square.sqrt()
    }
}

impl Measured {
    fn new(steps: usize) -> Measured {
        Measured { errors: vec![Vec::new(); steps], distortions: vec![0.0; steps], ..Measured::default() }
    }
}

/// A tensor's elements in host memory.
fn host(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.read()?.into_iter().map(f64::from).collect())
}

/// ‖x‖² of each image.
fn squares(values: &[f64], dimensions: usize) -> Vec<f64> {
    values.chunks(dimensions).map(|image| image.iter().map(|v| v * v).sum()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
