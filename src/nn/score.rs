//! A network as a score: its output at a state and a time, what it becomes, and how it changes with the
//! state.

use super::conditioning::Conditioning;
use super::layers::Pass;
use super::network::{Architecture, BuiltIn, Network};
use super::parameters::{Parameters, Registry};
use super::preconditioning::{Label, Preconditioning};
use crate::autodiff::{Dual, Eager, Engine, Tape};
use crate::config::{Config, ConfigError, refuse};
use crate::gpu::Gpu;
use crate::kernels::combine::{Factor, Form};
use crate::kernels::{KernelError, Result, check};
use crate::random::Draw;
use crate::sde::{Marginal, Process};
use crate::tensor::Tensor;
use std::sync::Arc;

/// A network with the process whose score it learns.
#[derive(Debug, Clone)]
pub struct ScoreModel<A = BuiltIn> {
    /// The network.
    pub network: Network<A>,
    /// Its parameters' names and layouts.
    pub registry: Registry,
    /// The process.
    pub process: Arc<dyn Process>,
    preconditioning: Preconditioning,
}

impl ScoreModel {
    /// The model that a configuration describes. No device is needed.
    ///
    /// # Errors
    /// If a value is not possible, or channels do not divide into groups.
    pub fn build(config: &Config) -> std::result::Result<ScoreModel, ConfigError> {
        config.check()?;
        let (network, registry) = Network::build(config)?;
        Ok(ScoreModel {
            network,
            registry,
            process: config.process(),
            preconditioning: Preconditioning::new(config),
        })
    }
}

impl<A: Architecture> ScoreModel<A> {
    /// A network of your own with its parameters, on the process of a configuration. It is conditioned on σ
    /// for VE and on 999 t for VP and sub-VP, or on the step of a discrete chain; `model.prediction`,
    /// `model.scale_by_sigma` and `data.centered` have their usual meaning.
    pub fn of(config: &Config, architecture: A, registry: Registry) -> ScoreModel<A> {
        let config = Config { model: config.model.given(), ..config.clone() };
        ScoreModel {
            network: Network::new(architecture, &config.data, config.model.scale_by_sigma),
            registry,
            process: config.process(),
            preconditioning: Preconditioning::new(&config),
        }
    }

    /// The same network on a process of your own, in continuous time: it is conditioned on 999 t. Its prediction stays
    /// that of the configuration: `model.prediction`, or by default the score where `training.sde` is VE and the noise
    /// where it is not.
    ///
    /// # Errors
    /// If the configuration trains on a discrete chain; if log m(t) or s(t)² is not finite between 0 and 1, or σ = s / m
    /// does not rise.
    pub fn with_process(self, process: Arc<dyn Process>) -> std::result::Result<Self, ConfigError> {
        check_process(&*process)?;
        let preconditioning = self.preconditioning.on_another_process()?;
        Ok(ScoreModel { process, preconditioning, ..self })
    }

    /// Whether the network is conditioned on the steps of a discrete chain.
    pub fn is_discrete(&self) -> bool {
        self.preconditioning.is_discrete()
    }

    /// The time at which the score is that of step `i` of DDPM's chain of `n` steps, with this marginal: the
    /// step's own if the model was trained on the chain, else the one with the same noise.
    pub fn chain_time(&self, i: usize, n: usize, marginal: Marginal) -> f64 {
        match self.is_discrete() {
            true => i as f64 / (n.max(2) - 1) as f64,
            false => self.process.time_of_sigma(marginal.std / marginal.mean),
        }
    }

    /// The preconditioning at a time in (0, 1].
    pub(crate) fn at(&self, t: f64) -> Label {
        self.preconditioning.at(&*self.process, t)
    }

    /// Checks that there is noise at a time. The last step of a DDPM chain may have a little more than time 1.
    fn check_time(&self, t: f64) -> Result<()> {
        let noisy = self.is_discrete() || self.process.variance(t) > 0.0;
        check("score", (0.0..1.5).contains(&t) && noisy, || {
            format!("t = {t}; the times of a score are above 0 and end at 1")
        })
    }

    /// Marginal and preconditioning of each step of the discrete chain; none of a model in continuous time.
    pub(crate) fn steps(&self) -> Vec<(Marginal, Label)> {
        self.preconditioning.steps()
    }
}

/// Checks a process at some times.
fn check_process(process: &dyn Process) -> std::result::Result<(), ConfigError> {
    let times = (0..=10).map(|i| f64::from(i) / 10.0);
    let sigmas: Vec<f64> = times.map(|t| process.variance(t).sqrt() / process.log_mean(t).exp()).collect();
    if sigmas.iter().all(|sigma| sigma.is_finite()) && sigmas.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    let why =
        format!("σ = s / m must be finite and rise from t = 0 to 1, and it is {sigmas:.3?} at 0, 0.1, …, 1");
    Err(refuse("process", process.name(), why))
}

/// A model with its parameters on a device.
#[derive(Clone)]
pub struct Scorer<A = BuiltIn> {
    /// The network and the process.
    pub model: ScoreModel<A>,
    /// The parameters.
    pub parameters: Parameters,
}

impl<A: Architecture> Scorer<A> {
    /// The device it is on.
    pub fn gpu(&self) -> &Gpu {
        self.parameters.values.flat().gpu()
    }

    /// Uploads the conditioning of samples at times in (0, 1], without classes.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn condition(&self, times: &[f64]) -> Result<Conditioning> {
        let labels: Vec<Label> = times.iter().map(|t| self.model.at(*t)).collect();
        self.condition_on(&labels, &vec![None; labels.len()])
    }

    /// Uploads the conditioning of samples, each with its class or none.
    pub(crate) fn condition_on(&self, labels: &[Label], classes: &[Option<usize>]) -> Result<Conditioning> {
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
        dropout: Option<Draw>,
    ) -> Result<E::Value> {
        let mut pass = Pass { engine, parameters: &self.parameters, dropout };
        self.model.network.forward(&mut pass, x, conditioning)
    }

    /// The bare network's output for `x` `[n, h, w, c]` at a conditioning value of each sample: σ for Fourier
    /// features, else the timestep label.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn bare(&self, x: &Tensor, conditioning: &[f64]) -> Result<Tensor> {
        let labels: Vec<Label> =
            conditioning.iter().map(|value| self.model.preconditioning.bare(*value)).collect();
        self.network(&mut Eager, x, &self.condition_on(&labels, &vec![None; labels.len()])?, None)
    }

    /// The score at `x` `[n, h, w, c]` and times in (0, 1], given a class or none.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn score(&self, x: &Tensor, t: &Factor, class: Option<usize>) -> Result<Form> {
        let at = Conditioned::new(self, x.shape().n(), t, class)?;
        Ok(at.score(x, &self.network(&mut Eager, x, &at.conditioning, None)?))
    }

    /// The score and its tangents for a stack `[x; ẋ₁; …; ẋ_K]` of `[(1 + K) n, h, w, c]`, the times being
    /// those of the n samples.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn tangents(&self, stack: &Tensor, probes: usize, t: &Factor, class: Option<usize>) -> Result<Form> {
        let at = Conditioned::new(self, stack.shape().n() / (1 + probes), t, class)?;
        let mut dual = Dual::new(Eager, probes);
        let variable = dual.variable(stack.clone());
        let image = self.network(&mut dual, &variable, &at.conditioning, None)?;
        // Tangents of the state and of the network combine like themselves.
        Ok(at.score(stack, image.stack()))
    }

    /// The score at `x` `[n, h, w, c]` and times in (0, 1], and its adjoint there, u ↦ (∂score/∂x)ᵀ u.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn adjoint(
        &self,
        x: &Tensor,
        t: &Factor,
        class: Option<usize>,
    ) -> Result<(Form, impl FnOnce(Form) -> Result<Form> + use<A>)> {
        let at = Conditioned::new(self, x.shape().n(), t, class)?;
        let mut tape = Tape::new();
        let variable = tape.variable(x);
        let output = self.network(&mut tape, &variable, &at.conditioning, None)?;
        let score = at.score(x, output.tensor());
        let pullback = move |u: Form| {
            let seed = (&u * &at.of_net).run()?;
            let gradient = tape.backward(&output, seed)?.take(&variable);
            let gradient = gradient.ok_or_else(|| {
                KernelError::Refused("the network's output does not depend on the state".into())
            })?;
            Ok(u * &at.of_x + &gradient)
        };
        Ok((score, pullback))
    }
}

/// A batch's conditioning, and the factors of state and output in its score.
struct Conditioned {
    conditioning: Conditioning,
    of_x: Factor,
    of_net: Factor,
}

impl Conditioned {
    fn new<A: Architecture>(
        scorer: &Scorer<A>,
        n: usize,
        t: &Factor,
        class: Option<usize>,
    ) -> Result<Conditioned> {
        let times = match t {
            Factor::All(t) => std::slice::from_ref(t),
            Factor::Each(times) => &times[..],
        };
        times.iter().try_for_each(|t| scorer.model.check_time(*t))?;
        let labels: Vec<Label> = match t {
            Factor::All(t) => vec![scorer.model.at(*t); n],
            Factor::Each(times) => times.iter().map(|t| scorer.model.at(*t)).collect(),
        };
        let conditioning = scorer.condition_on(&labels, &vec![class; labels.len()])?;
        let factor = |of: fn(&Label) -> f64| match t {
            Factor::All(t) => Factor::All(of(&scorer.model.at(*t))),
            Factor::Each(_) => Factor::Each(labels.iter().map(of).collect()),
        };
        Ok(Conditioned { conditioning, of_x: factor(|l| l.of_x), of_net: factor(|l| l.of_net) })
    }

    fn score(&self, x: &Tensor, net: &Tensor) -> Form {
        x * &self.of_x + net * &self.of_net
    }
}
