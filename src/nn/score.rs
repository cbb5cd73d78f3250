//! From a network to a score: what it is told of a time, and what its output stands for (the reference's
//! `get_score_fn`).

use super::conditioning::Conditioning;
use super::layers::{Dropout, Pass};
use super::network::Network;
use super::parameters::{Parameters, Registry};
use crate::autodiff::Engine;
use crate::config::{Config, ConfigError, EmbeddingType, Model, ModelName, Prediction};
use crate::kernels::Result;
use crate::sde::{Marginal, Sde, SdeKind};

/// A network with the process whose score it has learnt.
#[derive(Debug, Clone)]
pub struct ScoreModel {
    /// The network.
    pub network: Network,
    /// Its parameters' names and layouts.
    pub registry: Registry,
    /// The process.
    pub sde: Sde,
    continuous: bool,
    /// σ from the largest to the smallest, geometric: what a sinusoidal label is an index of. Empty where the label is the
    /// noise level itself.
    ladder: Vec<f64>,
    /// DDPM's chain, for models trained on it.
    chain: Vec<Marginal>,
    prediction: Prediction,
    sigma_data: f64,
    embedding: EmbeddingType,
}

/// What belongs to a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label {
    /// What the network is told.
    pub label: f64,
    /// The σ that the network's output is divided by, if it is.
    pub sigma: f64,
    /// The network's input is x times this.
    pub input: f64,
    /// What makes the score of the network's output.
    pub score: Combination,
}

/// `x` times the state plus `net` times the network's output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Combination {
    /// Factor of the state.
    pub x: f64,
    /// Factor of the network's output.
    pub net: f64,
}

impl Combination {
    /// The score of what a network predicts at x = m x₀ + s z, given the marginal.
    fn score(prediction: Prediction, Marginal { mean: m, std: s }: Marginal, edm: &Edm) -> Combination {
        match prediction {
            Prediction::Score => Combination { x: 0.0, net: 1.0 },
            // score = −z / s, the mean of z given x.
            Prediction::Eps => Combination { x: 0.0, net: -1.0 / s },
            // Tweedie: score = (m x₀ − x) / s².
            Prediction::X0 => Combination { x: -1.0 / (s * s), net: m / (s * s) },
            // (m² + s²) z = m v + s x.
            Prediction::V => {
                let total = m * m + s * s;
                Combination { x: -1.0 / total, net: -m / (s * total) }
            }
            Prediction::Edm => Combination { x: (edm.skip - 1.0) / (s * s), net: m * edm.out / (s * s) },
        }
    }
}

/// z − ẑ, the noise less the one that follows from the network's output: `out` times the output, `z` times z and `x0`
/// times x₀.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residual {
    /// Factor of the network's output.
    pub out: f64,
    /// Factor of the noise.
    pub z: f64,
    /// Factor of the data.
    pub x0: f64,
}

impl Residual {
    /// All of it times a factor.
    pub fn times(self, factor: f64) -> Residual {
        Residual { out: factor * self.out, z: factor * self.z, x0: factor * self.x0 }
    }
}

impl Label {
    /// What a function is told that gives the score itself: the time.
    pub fn of_score(t: f64) -> Label {
        Label { label: t, sigma: 1.0, input: 1.0, score: Combination { x: 0.0, net: 1.0 } }
    }

    /// s score + z at x = m x₀ + s z, given the marginal.
    pub fn residual(&self, Marginal { mean: m, std: s }: Marginal) -> Residual {
        Residual { out: s * self.score.net, z: 1.0 + s * s * self.score.x, x0: s * m * self.score.x }
    }
}

/// EDM's preconditioning at σ = s / m, of x / m (Karras 2022, table 1): x₀ = skip · x / m + out · F(input · x; noise).
struct Edm {
    skip: f64,
    out: f64,
    input: f64,
    noise: f64,
}

impl Edm {
    fn new(marginal: Marginal, sigma_data: f64) -> Edm {
        let sigma = marginal.std / marginal.mean;
        let total = sigma * sigma + sigma_data * sigma_data;
        Edm {
            skip: sigma_data * sigma_data / total,
            out: sigma * sigma_data / total.sqrt(),
            input: 1.0 / (total.sqrt() * marginal.mean),
            noise: sigma.ln() / 4.0,
        }
    }
}

impl ScoreModel {
    /// The model that a configuration describes. No device is needed.
    ///
    /// # Errors
    /// If channels do not divide into groups.
    pub fn build(config: &Config) -> std::result::Result<ScoreModel, ConfigError> {
        let (network, registry) = Network::build(config)?;
        let sde = config.sde();
        let discrete_vp = !config.training.continuous && matches!(sde.kind, SdeKind::Vp { .. });
        let Model { sigma_min, sigma_max, num_scales, .. } = config.model;
        let sigma = |i: usize| sigma_max * (sigma_min / sigma_max).powf(i as f64 / (num_scales - 1) as f64);
        // The reference's ncsnpp takes any sinusoidal label for an index of σ, even σ itself, and so do its checkpoints.
        let told_sigma = config.training.continuous
            && matches!(sde.kind, SdeKind::Ve { .. })
            && config.model.name != ModelName::Ncsnpp;
        let positional = config.model.embedding() == EmbeddingType::Positional && !told_sigma;
        Ok(ScoreModel {
            network,
            registry,
            continuous: config.training.continuous,
            ladder: if positional { (0..num_scales).map(sigma).collect() } else { Vec::new() },
            chain: if discrete_vp { sde.discrete_marginals() } else { Vec::new() },
            prediction: config.prediction(),
            sigma_data: config.model.sigma_data,
            embedding: config.model.embedding(),
            sde,
        })
    }

    /// The label of a time in (0, 1].
    pub fn label(&self, t: f64) -> Label {
        let last = self.sde.n - 1;
        let marginal = self.sde.marginal_prob(t);
        if self.is_classifier() {
            return noise_label(marginal);
        }
        // In 32 bits, as the reference has it: i / (n − 1) is rounded to them, and finds i again.
        let (t, steps) = (t as f32, last as f32);
        match (self.sde.kind, self.continuous) {
            (SdeKind::Ve { .. }, true) => self.label_of(marginal.std, self.sigma(marginal.std), marginal),
            // And a half to the even number.
            (SdeKind::Ve { .. }, false) => self.step_label(((1.0 - t) * steps).round_ties_even() as usize),
            (_, true) => {
                let label = f64::from(999.0 * t);
                self.label_of(label, self.sigma(label), marginal)
            }
            (_, false) => {
                let label = f64::from(t * steps);
                self.label_of(label, self.sigma(label), self.chain[(label as usize).min(last)])
            }
        }
    }

    /// Whether its network gives logits of classes, and no score.
    fn is_classifier(&self) -> bool {
        self.network.logits().is_some()
    }

    /// The label of a step of the discrete chain, as training on it has it: of VE's descending ladder, of VP's chain.
    pub fn step_label(&self, step: usize) -> Label {
        let label = step as f64;
        self.label_of(label, self.sigma(label), self.step_marginal(step))
    }

    /// The label at a step of DDPM's chain: its own if the model is trained on the chain, else that of the time with the same
    /// noise. For VP.
    pub fn chain_label(&self, step: usize, marginal: Marginal) -> Label {
        match self.continuous {
            true => self.label(self.sde.time_of_sigma(marginal.std / marginal.mean)),
            false => self.step_label(step),
        }
    }

    /// A label with what its marginal makes of the network's output.
    fn label_of(&self, label: f64, sigma: f64, marginal: Marginal) -> Label {
        let edm = Edm::new(marginal, self.sigma_data);
        let score = Combination::score(self.prediction, marginal, &edm);
        if self.prediction != Prediction::Edm {
            return Label { label, sigma, input: 1.0, score };
        }
        // Fourier features take the logarithm of their label.
        let label = match self.embedding {
            EmbeddingType::Fourier => edm.noise.exp(),
            EmbeddingType::Positional => edm.noise,
        };
        Label { label, sigma, input: edm.input, score }
    }

    /// The label for the network's own conditioning value: σ for Fourier features, else the timestep label.
    pub fn network_label(&self, label: f64) -> Label {
        Label { label, sigma: self.sigma(label), input: 1.0, score: Combination { x: 0.0, net: 1.0 } }
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

/// What a classifier is told: the noise in units of the signal, which is σ for VE; its input has unit variance where the data
/// have.
fn noise_label(Marginal { mean, std }: Marginal) -> Label {
    Label {
        label: std / mean,
        sigma: std,
        input: 1.0 / mean.hypot(std),
        score: Combination { x: 0.0, net: 1.0 },
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
        self.condition_on(labels, &vec![None; labels.len()])
    }

    /// The same with the class of each sample, or none, for a network that is told classes.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn condition_on(&self, labels: &[Label], classes: &[Option<usize>]) -> Result<Conditioning> {
        self.model.network.condition(&self.parameters.frequencies, labels, classes)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For a point mass at x₀ every prediction is known, and each must give the same score, −z / s.
    #[test]
    fn every_prediction_gives_the_same_score() {
        let (x0, z) = (0.7, -1.3);
        for marginal in [
            Marginal { mean: 1.0, std: 3.0 },
            Marginal { mean: 0.8, std: 0.6 },
            Marginal { mean: 0.3, std: 0.2 },
        ] {
            let Marginal { mean: m, std: s } = marginal;
            let x = m * x0 + s * z;
            let edm = Edm::new(marginal, 0.5);
            for (prediction, net) in [
                (Prediction::Score, -z / s),
                (Prediction::Eps, z),
                (Prediction::X0, x0),
                (Prediction::V, m * z - s * x0),
                (Prediction::Edm, (x0 - edm.skip * x / m) / edm.out),
            ] {
                let c = Combination::score(prediction, marginal, &edm);
                let score = c.x * x + c.net * net;
                assert!((score + z / s).abs() < 1e-9, "{prediction:?} {marginal:?}: {score}");
            }
        }
    }

    fn model(text: &str, set: &[&str]) -> ScoreModel {
        let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
        ScoreModel::build(&Config::from_toml(text, &set).unwrap()).unwrap()
    }

    /// Callers have times in 32 bits, where half of all i / 999 lie below what they stand for.
    #[test]
    fn a_time_of_the_chain_finds_its_step_though_it_was_rounded_to_32_bits() {
        let model = model(include_str!("../../configs/vp/cifar10_ddpmpp.toml"), &[]);
        for step in 0..1000 {
            let t = (step as f64 / 999.0) as f32;
            assert_eq!(model.label(t.into()).score, model.step_label(step).score, "{step}");
        }
    }

    /// Of NCSN's ten levels the middle of time is between the fifth and the sixth: 4.5.
    #[test]
    fn a_time_between_two_levels_is_the_even_one() {
        let model = model(include_str!("../../configs/ve/ncsn/cifar10.toml"), &[]);
        let labels = [0.5, 7.0 / 18.0].map(|t| model.label(t).label);
        assert_eq!(labels, [4.0, 6.0]);
    }

    /// `used_sigmas = self.sigmas[time_cond.long()]` in the reference, whatever the time is told as.
    #[test]
    fn ncsnpp_with_sinusoids_looks_sigma_up_and_other_networks_divide_by_it() {
        let positional = ["model.embedding_type=positional", "model.num_scales=11"];
        let ncsnpp = model(include_str!("../../configs/ve/cifar10_ncsnpp_continuous.toml"), &positional);
        // σ = 0.01 · 5000^t is 0.71 and 3.88: the first and the fourth of the ladder, 50 · 5000^(−i / 10).
        for (t, i) in [(0.5, 0.0), (0.7, 3.0)] {
            let expected = 50.0 * f64::powf(5000.0, -i / 10.0);
            assert!((ncsnpp.label(t).sigma / expected - 1.0).abs() < 1e-12, "{t}");
        }
        let set = ["model.name=ncsnv2_64", "model.normalization=InstanceNorm++"];
        let other = model(include_str!("../../configs/ve/cifar10_ncsnpp_continuous.toml"), &set);
        assert_eq!(other.label(0.5).sigma, other.sde.marginal_prob(0.5).std);
    }

    /// EDM's network sees unit variance and is asked for unit variance, for data of σ_data.
    #[test]
    fn edm_keeps_variances_at_one() {
        let sigma_data = 0.5;
        for sigma in [0.01f64, 0.5, 80.0] {
            let edm = Edm::new(Marginal { mean: 1.0, std: sigma }, sigma_data);
            let total = sigma * sigma + sigma_data * sigma_data;
            assert!((edm.input.powi(2) * total - 1.0).abs() < 1e-12);
            // F = (x₀ − skip (x₀ + σ z)) / out.
            let variance = ((1.0 - edm.skip) * sigma_data).powi(2) + (edm.skip * sigma).powi(2);
            assert!((variance / edm.out.powi(2) - 1.0).abs() < 1e-12);
        }
    }
}
