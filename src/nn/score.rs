//! From a network to a score: what it is told of a time, and what its output stands for (the reference's
//! `get_score_fn`).

use super::layers::{Dropout, Pass};
use super::ncsnpp::{Conditioning, Ncsnpp};
use super::parameters::{Parameters, Registry};
use crate::autodiff::{Eager, Engine};
use crate::config::{Config, ConfigError, EmbeddingType, Model};
use crate::kernels::{Result, elementwise};
use crate::sde::{Marginal, Sde, SdeKind};
use crate::tensor::{Shape, Tensor};

/// A network with the process whose score it has learnt.
#[derive(Debug, Clone)]
pub struct ScoreModel {
    /// The network.
    pub network: Ncsnpp,
    /// Its parameters' names and layouts.
    pub registry: Registry,
    /// The process.
    pub sde: Sde,
    continuous: bool,
    /// σ from the largest to the smallest, geometric: what a sinusoidal label is an index of. Empty for Fourier features,
    /// whose label is the noise level itself.
    ladder: Vec<f64>,
    /// DDPM's chain, for models trained on it.
    chain: Vec<Marginal>,
}

/// What belongs to a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label {
    /// What the network is told.
    pub label: f64,
    /// The σ that the network's output is divided by, if it is.
    pub sigma: f64,
    /// The score is the network's output times this.
    pub score_scale: f64,
}

impl ScoreModel {
    /// The model that a configuration describes. No device is needed.
    ///
    /// # Errors
    /// If channels do not divide into groups.
    pub fn build(config: &Config) -> std::result::Result<ScoreModel, ConfigError> {
        let (network, registry) = Ncsnpp::build(config)?;
        let sde = config.sde();
        let discrete_vp = !config.training.continuous && matches!(sde.kind, SdeKind::Vp { .. });
        let Model { sigma_min, sigma_max, num_scales, .. } = config.model;
        let sigma = |i: usize| sigma_max * (sigma_min / sigma_max).powf(i as f64 / (num_scales - 1) as f64);
        let positional = config.model.embedding_type == EmbeddingType::Positional;
        Ok(ScoreModel {
            network,
            registry,
            continuous: config.training.continuous,
            ladder: if positional { (0..num_scales).map(sigma).collect() } else { Vec::new() },
            chain: if discrete_vp { sde.discrete_marginals() } else { Vec::new() },
            sde,
        })
    }

    /// The label of a time in (0, 1].
    pub fn label(&self, t: f64) -> Label {
        let last = (self.sde.n - 1) as f64;
        let std = self.sde.marginal_prob(t).std;
        match (self.sde.kind, self.continuous) {
            (SdeKind::Ve { .. }, true) => Label { label: std, sigma: std, score_scale: 1.0 },
            (SdeKind::Ve { .. }, false) => self.step_label(((1.0 - t) * last).round() as usize),
            (_, true) => Label { label: 999.0 * t, sigma: self.sigma(999.0 * t), score_scale: -1.0 / std },
            (_, false) => {
                let label = t * last;
                let std = self.chain[(label.floor() as usize).min(self.sde.n - 1)].std;
                Label { label, sigma: self.sigma(label), score_scale: -1.0 / std }
            }
        }
    }

    /// The label of a step of the discrete chain, as training on it has it: of VE's descending ladder, of VP's chain.
    pub fn step_label(&self, step: usize) -> Label {
        let label = step as f64;
        match self.sde.kind {
            SdeKind::Ve { .. } => {
                let sigma = self.sigma(label);
                Label { label, sigma, score_scale: 1.0 }
            }
            _ => Label { label, sigma: self.sigma(label), score_scale: -1.0 / self.chain[step].std },
        }
    }

    /// The perturbation kernel of a step of the discrete chain.
    pub fn step_marginal(&self, step: usize) -> Marginal {
        match self.sde.kind {
            SdeKind::Ve { .. } => Marginal { mean: 1.0, std: self.sigma(step as f64) },
            _ => self.chain[step],
        }
    }

    /// The σ that a label stands for.
    fn sigma(&self, label: f64) -> f64 {
        let index = (label.max(0.0) as usize).min(self.ladder.len().saturating_sub(1));
        self.ladder.get(index).copied().unwrap_or(label)
    }
}

/// A model with its parameters on a device: something that can be asked for a score.
#[derive(Clone)]
pub struct Scorer {
    /// The network and the process.
    pub model: ScoreModel,
    /// The parameters.
    pub parameters: Parameters,
}

impl Scorer {
    /// Uploads what the network is told, for a label of each sample.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn condition(&self, labels: &[Label]) -> Result<Conditioning> {
        let of = |f: fn(&Label) -> f64| labels.iter().map(f).collect::<Vec<f64>>();
        let frequencies = &self.parameters.frequencies;
        self.model.network.condition(frequencies.gpu(), frequencies, &of(|l| l.label), &of(|l| l.sigma))
    }

    /// The network's output on any engine, for `x` `[n, h, w, c]` in the data's range.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn network<E: Engine>(
        &self,
        engine: &mut E,
        x: &E::Value,
        conditioning: &Conditioning,
        dropout: Option<Dropout>,
    ) -> Result<E::Value> {
        let mut pass = Pass { engine, parameters: &self.parameters, dropout };
        self.model.network.forward(&mut pass, x, conditioning)
    }

    /// The labels of times in (0, 1].
    pub fn labels(&self, times: &[f64]) -> Vec<Label> {
        times.iter().map(|t| self.model.label(*t)).collect()
    }

    /// The score at `x` `[n, h, w, c]` in the data's range and a time in (0, 1] of each sample.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn score(&self, x: &Tensor, times: &[f64]) -> Result<Tensor> {
        let labels = self.labels(times);
        let out = self.network(&mut Eager, x, &self.condition(&labels)?, None)?;
        let scales: Vec<f32> = labels.iter().map(|label| label.score_scale as f32).collect();
        let scales = Tensor::from_slice(x.gpu(), Shape::new(scales.len(), 1, 1, 1), &scales)?;
        elementwise::scale_samples(&out, &scales)
    }
}
