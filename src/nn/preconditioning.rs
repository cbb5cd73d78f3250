//! The preconditioning of a network (the reference's `get_score_fn`; Karras 2022, section 5): its
//! conditioning on time, the scale of its input, and the score that follows from its output. Numbers for each
//! time, no device.

use crate::config::{Config, ConfigError, EmbeddingType, Model, ModelName, Prediction, SdeName};
use crate::sde::{BetaSchedule, Chain, Marginal, Process};

/// The preconditioning of a network, decided once when the model is built.
#[derive(Debug, Clone)]
pub struct Preconditioning {
    conditioning: TimeConditioning,
    divisor: Divisor,
    prediction: Prediction,
    sigma_data: f64,
    embedding: EmbeddingType,
}

/// The conditioning of a network on time.
#[derive(Debug, Clone)]
enum TimeConditioning {
    /// σ(t), the standard deviation of the noise.
    Sigma,
    /// 999 t.
    Time999,
    /// The step of a discrete chain, by the marginals of its steps. Between two steps the marginal is the lower one's, or
    /// the process's own if that goes `through` them all.
    Step { marginals: Vec<Marginal>, order: StepOrder, through: bool },
    /// s / m, of an input scaled to unit variance: a classifier.
    NoiseToSignal,
}

/// The direction in which the steps of a chain are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StepOrder {
    /// DDPM's: from the data.
    Rising,
    /// NCSN's: from the largest σ.
    Falling,
}

/// The number that `model.scale_by_sigma` divides the network's output by.
#[derive(Debug, Clone)]
enum Divisor {
    /// The conditioning value itself.
    Conditioning,
    /// The entry of a ladder of σ, from the largest down, with the conditioning value as its index.
    Ladder(Vec<f64>),
    /// The standard deviation of the noise.
    Std,
}

/// The preconditioning at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Label {
    /// The conditioning value (EDM's c_noise).
    pub(crate) conditioning: f64,
    /// The divisor of the network's output, with `model.scale_by_sigma`.
    pub(crate) sigma: f64,
    /// The factor of x in the network's input (EDM's c_in).
    pub(crate) input: f64,
    /// score = of_x · x + of_net · network(x).
    pub(crate) of_x: f64,
    /// The factor of the network's output in the score.
    pub(crate) of_net: f64,
}

impl Preconditioning {
    /// The preconditioning that a configuration describes.
    pub(super) fn new(config: &Config) -> Preconditioning {
        let (process, n) = (config.process(), config.model.num_scales);
        let vesde = config.training.sde == SdeName::Vesde;
        let conditioning = match (vesde, config.training.continuous) {
            _ if config.is_classifier() => TimeConditioning::NoiseToSignal,
            (true, true) => TimeConditioning::Sigma,
            (false, true) => TimeConditioning::Time999,
            (true, false) => {
                let marginals = ladder(&config.model).map(|std| Marginal { mean: 1.0, std }).collect();
                TimeConditioning::Step { marginals, order: StepOrder::Falling, through: false }
            }
            (false, false) => {
                let marginals = Chain::new(&*process, n).ddpm_marginals();
                let through = config.model.beta_schedule != BetaSchedule::Linear;
                TimeConditioning::Step { marginals, order: StepOrder::Rising, through }
            }
        };
        // The reference's ncsnpp takes any sinusoidal label for an index of σ, even σ itself, and so do its
        // checkpoints.
        let sigma_itself =
            matches!(conditioning, TimeConditioning::Sigma) && config.model.name != ModelName::Ncsnpp;
        let looks_up = config.model.embedding() == EmbeddingType::Positional && !sigma_itself;
        Preconditioning {
            conditioning,
            divisor: if looks_up {
                Divisor::Ladder(ladder(&config.model).collect())
            } else {
                Divisor::Conditioning
            },
            prediction: config.prediction(),
            sigma_data: config.model.sigma_data,
            embedding: config.model.embedding(),
        }
    }

    /// The same network on another process than the configuration's, conditioned on 999 t.
    ///
    /// # Errors
    /// If the configuration trains on a discrete chain, which is another process's.
    pub(super) fn on_another_process(self) -> Result<Preconditioning, ConfigError> {
        let conditioning = match self.conditioning {
            TimeConditioning::Step { .. } => {
                let why = "a process of your own has continuous times; set it to true";
                return Err(crate::config::refuse("training.continuous", false, why));
            }
            TimeConditioning::NoiseToSignal => TimeConditioning::NoiseToSignal,
            TimeConditioning::Sigma | TimeConditioning::Time999 => TimeConditioning::Time999,
        };
        Ok(Preconditioning { conditioning, divisor: Divisor::Std, ..self })
    }

    /// The preconditioning at a time in (0, 1].
    pub(super) fn at(&self, process: &dyn Process, t: f64) -> Label {
        let marginal = process.marginal_prob(t);
        match &self.conditioning {
            TimeConditioning::Sigma => self.label(marginal.std, marginal),
            // In 32 bits, as in the reference.
            TimeConditioning::Time999 => self.label(f64::from(999.0 * t as f32), marginal),
            TimeConditioning::Step { marginals, order, through } => {
                let last = (marginals.len() - 1) as f32;
                // In 32 bits, too: i / (n − 1) is rounded to them, and finds i again. A time
                // halfway between two NCSN steps takes the even step; DDPM's step may be a fraction.
                let step = match order {
                    StepOrder::Falling => ((1.0 - t as f32) * last).round_ties_even(),
                    StepOrder::Rising => t as f32 * last,
                };
                let own =
                    if *through { marginal } else { marginals[(step as usize).min(marginals.len() - 1)] };
                self.label(f64::from(step), own)
            }
            TimeConditioning::NoiseToSignal => Label {
                conditioning: marginal.std / marginal.mean,
                sigma: marginal.std,
                input: 1.0 / marginal.mean.hypot(marginal.std),
                of_x: 0.0,
                of_net: 1.0,
            },
        }
    }

    /// Whether the network is conditioned on the steps of a discrete chain.
    pub(super) fn is_discrete(&self) -> bool {
        matches!(self.conditioning, TimeConditioning::Step { .. })
    }

    /// Marginal and preconditioning of each step of the discrete chain, in its own numbering; none of a model
    /// in continuous time.
    pub(super) fn steps(&self) -> Vec<(Marginal, Label)> {
        let TimeConditioning::Step { marginals, .. } = &self.conditioning else { return Vec::new() };
        marginals.iter().enumerate().map(|(step, m)| (*m, self.label(step as f64, *m))).collect()
    }

    /// The bare network at a conditioning value of its own.
    pub(super) fn bare(&self, conditioning: f64) -> Label {
        let sigma = self.divisor(conditioning, Marginal { mean: 1.0, std: conditioning });
        Label { conditioning, sigma, input: 1.0, of_x: 0.0, of_net: 1.0 }
    }

    /// The preconditioning for a conditioning value and the marginal it stands for.
    fn label(&self, conditioning: f64, marginal: Marginal) -> Label {
        let edm = Edm::new(marginal, self.sigma_data);
        let (of_x, of_net) = score(self.prediction, marginal, &edm);
        let label =
            Label { conditioning, sigma: self.divisor(conditioning, marginal), input: 1.0, of_x, of_net };
        if self.prediction != Prediction::Edm {
            return label;
        }
        // Fourier features take the logarithm of their conditioning.
        let conditioning = match self.embedding {
            EmbeddingType::Fourier => edm.noise.exp(),
            EmbeddingType::Positional => edm.noise,
        };
        Label { conditioning, input: edm.input, ..label }
    }

    fn divisor(&self, conditioning: f64, marginal: Marginal) -> f64 {
        match &self.divisor {
            Divisor::Conditioning => conditioning,
            Divisor::Ladder(ladder) => ladder[(conditioning.max(0.0) as usize).min(ladder.len() - 1)],
            Divisor::Std => marginal.std,
        }
    }
}

/// NCSN's ladder: σ from the largest to the smallest, geometric.
fn ladder(model: &Model) -> impl Iterator<Item = f64> + use<> {
    let Model { sigma_min, sigma_max, num_scales, .. } = *model;
    (0..num_scales).map(move |i| sigma_max * (sigma_min / sigma_max).powf(i as f64 / (num_scales - 1) as f64))
}

/// The factors of the state and of the network's output in the score at x = m x₀ + s z.
fn score(prediction: Prediction, Marginal { mean: m, std: s }: Marginal, edm: &Edm) -> (f64, f64) {
    match prediction {
        Prediction::Score => (0.0, 1.0),
        // score = −z / s, the mean of z given x.
        Prediction::Eps => (0.0, -1.0 / s),
        // Tweedie: score = (m x₀ − x) / s².
        Prediction::X0 => (-1.0 / (s * s), m / (s * s)),
        // (m² + s²) z = m v + s x.
        Prediction::V => {
            let total = m * m + s * s;
            (-1.0 / total, -m / (s * total))
        }
        Prediction::Edm => ((edm.skip - 1.0) / (s * s), m * edm.out / (s * s)),
    }
}

/// EDM's preconditioning at σ = s / m, of x / m (Karras 2022, table 1): x₀ = skip · x / m + out · F(input ·
/// x; noise).
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
                let (of_x, of_net) = score(prediction, marginal, &edm);
                let score = of_x * x + of_net * net;
                assert!((score + z / s).abs() < 1e-9, "{prediction:?} {marginal:?}: {score}");
            }
        }
    }

    fn model(text: &str, set: &[&str]) -> (std::sync::Arc<dyn Process>, Preconditioning) {
        let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
        let config = Config::from_toml(text, &set).unwrap();
        (config.process(), Preconditioning::new(&config))
    }

    /// Callers have times in 32 bits, where half of all i / 999 lie below the number they stand for.
    #[test]
    fn a_time_of_the_chain_finds_its_step_though_it_was_rounded_to_32_bits() {
        let (process, model) = model(include_str!("../../configs/vp/cifar10_ddpmpp.toml"), &[]);
        let steps = model.steps();
        assert_eq!(steps.len(), 1000);
        for (step, (_, own)) in steps.into_iter().enumerate() {
            let t = (step as f64 / 999.0) as f32;
            let found = model.at(&*process, t.into());
            assert_eq!((found.of_x, found.of_net), (own.of_x, own.of_net), "{step}");
        }
    }

    /// Of NCSN's ten levels the middle of time is between the fifth and the sixth: 4.5.
    #[test]
    fn a_time_between_two_levels_is_the_even_one() {
        let (process, model) = model(include_str!("../../configs/ve/ncsn/cifar10.toml"), &[]);
        let labels = [0.5, 7.0 / 18.0].map(|t| model.at(&*process, t).conditioning);
        assert_eq!(labels, [4.0, 6.0]);
    }

    /// `used_sigmas = self.sigmas[time_cond.long()]` in the reference, whatever the network is conditioned
    /// on.
    #[test]
    fn ncsnpp_with_sinusoids_looks_sigma_up_and_other_networks_divide_by_it() {
        let positional = ["model.embedding_type=positional", "model.num_scales=11"];
        let text = include_str!("../../configs/ve/cifar10_ncsnpp_continuous.toml");
        let (process, ncsnpp) = model(text, &positional);
        // σ = 0.01 · 5000^t is 0.71 and 3.88: the first and the fourth of the ladder, 50 · 5000^(−i / 10).
        for (t, i) in [(0.5, 0.0), (0.7, 3.0)] {
            let expected = 50.0 * f64::powf(5000.0, -i / 10.0);
            assert!((ncsnpp.at(&*process, t).sigma / expected - 1.0).abs() < 1e-12, "{t}");
        }
        let (process, other) = model(text, &["model.name=ncsnv2_64", "model.normalization=InstanceNorm++"]);
        assert_eq!(other.at(&*process, 0.5).sigma, process.marginal_prob(0.5).std);
    }

    /// Input and target of EDM's network have unit variance, for data of σ_data.
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
