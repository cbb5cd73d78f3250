//! Denoising losses: the squared error of the noise, of what the network predicts, or of the bound's reverse
//! steps.

use super::times::Target;
use super::{Pass, condition, noise};
use crate::autodiff::Engine;
use crate::kernels::Result;
use crate::kernels::score_matching::{self, Coefficients};
use crate::nn::{Architecture, Label, Scorer};
use crate::sde::{DdpmChain, Marginal, PosteriorVariance, half_level};
use crate::tensor::Tensor;

/// A denoising loss.
#[derive(Debug, Clone)]
pub(super) struct Denoising {
    pub error: Error,
    /// The smallest grey level in the model's range.
    pub low: f64,
}

/// The error that is squared.
#[derive(Debug, Clone)]
pub(super) enum Error {
    /// z − ẑ, with ẑ the noise that follows from what the network predicts: Song 2021, eq. 7 with λ = s².
    Noise,
    /// The error of the network's own prediction.
    Prediction,
    /// That of the mean of a reverse step, weighted as in the variational bound (Ho 2020, eq. 12); the first
    /// step's loss is the decoder's.
    Bound(DdpmChain, PosteriorVariance),
}

/// z − ẑ, the noise less the one that follows from the network's output, by its factors of the output, of z
/// and of x₀.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Residual {
    out: f64,
    z: f64,
    x0: f64,
}

impl Residual {
    /// s score + z at x = m x₀ + s z.
    fn new(label: &Label, Marginal { mean: m, std: s }: Marginal) -> Residual {
        Residual { out: s * label.of_net, z: 1.0 + s * s * label.of_x, x0: s * m * label.of_x }
    }

    fn times(self, factor: f64) -> Residual {
        Residual { out: factor * self.out, z: factor * self.z, x0: factor * self.x0 }
    }
}

impl Denoising {
    pub(super) fn loss<A: Architecture>(
        &self,
        scorer: &Scorer<A>,
        x0: &Tensor,
        targets: &[Target],
        weight: f64,
        pass: Pass,
    ) -> Result<Tensor> {
        let coefficients: Vec<_> = targets.iter().map(|target| self.coefficients(target, weight)).collect();
        let coefficients = score_matching::upload(x0.gpu(), &coefficients)?;
        let x = score_matching::perturb(x0, noise(pass.draw), &coefficients)?;
        let mut tape = pass.tape();
        let input = tape.constant(&x);
        let conditioning = condition(scorer, targets)?;
        let out = scorer.network(&mut tape, &input, &conditioning, pass.dropout())?;
        let (loss, seed) = score_matching::denoising(out.tensor(), x0, noise(pass.draw), &coefficients)?;
        tape.backward(&out, seed)?;
        Ok(loss)
    }

    fn coefficients(&self, target: &Target, weight: f64) -> Coefficients {
        let Marginal { mean: m, std: s } = target.marginal;
        let noise = Residual::new(&target.label, target.marginal);
        let weight = weight * target.weight;
        let (residual, weight, bin) = match &self.error {
            Error::Noise => (noise, weight, 0.0),
            Error::Prediction => (noise.times(1.0 / noise.out), weight, 0.0),
            Error::Bound(chain, variance) => {
                // One step stands for all.
                let weight = weight * chain.len() as f64;
                match target.step {
                    0 => {
                        let std = chain.variance(0, *variance).sqrt();
                        // The decoder's mean is x̂₀, which misses x₀ by s / m of the noise's error.
                        (noise.times(s / (m * std)), weight, half_level(self.low) / std)
                    }
                    step => (noise, weight * chain.error_weight(step, *variance), 0.0),
                }
            }
        };
        Coefficients {
            mean: m as f32,
            std: s as f32,
            scale: residual.out as f32,
            of_z: residual.z as f32,
            of_x0: residual.x0 as f32,
            weight: weight as f32,
            bin: bin as f32,
            low: self.low as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::nn::ScoreModel;

    fn label(prediction: &str, t: f64) -> (Marginal, Label) {
        let text = include_str!("../../../configs/digits_vp.toml");
        let config = Config::from_toml(text, &[format!("model.prediction={prediction}")]).unwrap();
        let model = ScoreModel::build(&config).unwrap();
        (model.process.marginal_prob(t), model.at(t))
    }

    #[test]
    fn a_prediction_is_held_against_its_own_target() {
        for t in [0.01, 0.3, 0.9] {
            let sigma_data = 0.5;
            for prediction in ["eps", "x0", "v", "edm"] {
                let (marginal, label) = label(prediction, t);
                let Marginal { mean: m, std: s } = marginal;
                let sigma = s / m;
                let skip = sigma_data * sigma_data / (sigma * sigma + sigma_data * sigma_data);
                let out = sigma * sigma_data / (sigma * sigma + sigma_data * sigma_data).sqrt();
                // −target in z and x₀.
                let (z, x0) = match prediction {
                    "eps" => (-1.0, 0.0),
                    "x0" => (0.0, -1.0),
                    "v" => (-m, s),
                    _ => (skip * sigma / out, (skip - 1.0) / out),
                };
                let noise = Residual::new(&label, marginal);
                let own = noise.times(1.0 / noise.out);
                let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * (1.0 + b.abs());
                assert!(
                    close(own.z, z) && close(own.x0, x0),
                    "{prediction} at {t}: {own:?}, not {z} and {x0}"
                );
                // EDM's weight is that of its output: λ(σ) c_out² = 1 (Karras 2022, table 1).
                if prediction == "edm" {
                    let lambda = (sigma * sigma + sigma_data * sigma_data) / (sigma * sigma_data).powi(2);
                    assert!(close(lambda * out * out, 1.0));
                }
            }
        }
    }
}
