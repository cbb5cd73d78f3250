//! Sampling: the probability flow, predictors and correctors, annealed Langevin dynamics, and solvers that need few
//! evaluations.

mod adaptive;
mod ald;
mod classes;
mod corrector;
mod flow;
mod grid;
mod hamiltonian;
mod heun;
mod impute;
mod inverse;
pub mod likelihood;
mod multistep;
mod ode;
mod operator;
mod particles;
mod pc;
mod predictor;
mod range;
pub mod rk45;
mod runge_kutta;
mod score;
mod step;

pub use adaptive::Adaptive;
pub use ald::AnnealedLangevin;
pub use classes::{ClassifierGuided, Conditional, Guide, Toward};
pub use corrector::Corrector;
pub use flow::{Flow, probability_flow};
pub use heun::Heun;
pub use impute::{Decoupling, Impute, Side};
pub use inverse::{Guidance, Guided, Measurement, Twist};
pub use multistep::Multistep;
pub use ode::Ode;
pub use operator::{Mask, Matrix, Operator, Resampling, System, solve};
pub use particles::Particles;
pub use pc::PredictorCorrector;
pub use range::into_range;
pub use score::{Counted, Pullback, Score};

pub use crate::random::Draw;

use crate::config::{Method, Sampling, Schedule};
use crate::kernels::random::{Distribution, fill};
use crate::kernels::{KernelError, Result};
use crate::random::{Key, Purpose};
use crate::sde::{Marginal, Sde};
use crate::tensor::{Shape, Tensor};

/// What a sampler shows after every step.
pub struct Progress<'a> {
    /// Steps made.
    pub step: usize,
    /// The time that the state has got to.
    pub t: f64,
    /// The state, `[n, h, w, c]` in the model's range.
    pub state: &'a Tensor,
}

/// What looks on while a sampler runs.
pub type Watch<'a> = dyn FnMut(Progress<'_>) -> Result<()> + 'a;

/// What a sampler has drawn.
pub struct Sampled {
    /// The samples, `[n, h, w, c]` in the model's range.
    pub x: Tensor,
    /// Evaluations of the score; of each sample's own where a solver controls each by itself, then in the mean.
    pub evaluations: f64,
    /// The share of proposals that were accepted, if any could be rejected.
    pub acceptance: Option<f64>,
}

/// A solver of the reverse-time process.
pub trait Sampler {
    /// Steps that it makes, if that is known beforehand.
    fn steps(&self) -> Option<usize>;

    /// Runs from states `x` `[n, h, w, c]` at time 1 to samples. A sample depends on its number alone, unless the solver is told
    /// to average over the batch.
    ///
    /// # Errors
    /// If the device refuses, or `watch` fails.
    fn run(&self, score: &dyn Score, x: Tensor, draw: Draw, watch: &mut Watch<'_>) -> Result<Sampled>;
}

/// What is imposed on the state after every step, known pixels for example.
pub trait Constraint {
    /// The state `x` `[n, h, w, c]` with what is known put in as it is perturbed at a time of this marginal, in the end not
    /// at all; `key` is for its noise.
    ///
    /// # Errors
    /// If the device refuses.
    fn impose(&self, x: Tensor, at: Marginal, key: Key) -> Result<Tensor>;
}

/// A sampler on whose states a constraint can be imposed.
pub trait Constrained: Sampler {
    /// [`Sampler::run`] under a constraint.
    ///
    /// # Errors
    /// Those of [`Sampler::run`], and the constraint's.
    fn run_under(
        &self,
        constraint: Option<&dyn Constraint>,
        score: &dyn Score,
        x: Tensor,
        draw: Draw,
        watch: &mut Watch<'_>,
    ) -> Result<Sampled>;
}

/// The sampler that a configuration describes, with `steps` steps.
///
/// # Errors
/// If there cannot be such a sampler.
pub fn sampler(config: &Sampling, sde: &Sde, steps: usize) -> Result<Box<dyn Sampler>> {
    let multistep = |order: usize, eta: f64, schedule: Schedule| -> Result<Box<dyn Sampler>> {
        Ok(Box::new(Multistep::new(*sde, config, steps, (order, eta), schedule)?))
    };
    match config.method {
        method if config.schedule.is_some() && !method.has_grid() => {
            let what = "this sampler has a schedule of its own; leave sampling.schedule out, or take another sampler";
            Err(refuse(what))
        }
        Method::Pc => Ok(Box::new(PredictorCorrector::new(*sde, config, steps)?)),
        Method::Ald => Ok(Box::new(AnnealedLangevin::new(*sde, config, steps)?)),
        Method::Euler => multistep(1, 0.0, Schedule::Edm),
        Method::Heun => Ok(Box::new(Heun::new(*sde, config, steps, false)?)),
        Method::StochasticHeun => Ok(Box::new(Heun::new(*sde, config, steps, true)?)),
        Method::Ddim => multistep(1, config.eta, Schedule::Time),
        Method::Dpmpp2m => multistep(2, config.eta, Schedule::LogSnr),
        Method::Dpmpp3m => multistep(3, config.eta, Schedule::LogSnr),
        Method::AdaptiveSde => Ok(Box::new(Adaptive::new(*sde, config))),
        Method::Ode => Ok(Box::new(Ode::new(config))),
    }
}

/// States from the prior, `shape` `[n, h, w, c]`.
///
/// # Errors
/// If the device refuses.
pub fn prior(score: &dyn Score, shape: Shape, draw: Draw) -> Result<Tensor> {
    let prior = Distribution::Normal { std: score.sde().prior_std() as f32 };
    fill(score.gpu(), shape, draw.key(Purpose::Prior), prior)
}

/// The mean of the data given the states `x` `[n, h, w, c]` at time `t` from 0 to 1, by Tweedie's formula: E[x₀ | x] =
/// (x + s² score) / m. Without noise they are the data.
///
/// # Errors
/// If the device refuses.
pub fn denoise(score: &dyn Score, x: &Tensor, t: f64) -> Result<Tensor> {
    if score.sde().marginal_prob(t).std == 0.0 {
        return Ok(x.clone());
    }
    let net = score.network(x, &vec![score.label(t); x.shape().n()])?;
    let of = grid::denoiser(score, score.sde().level(t));
    crate::kernels::sde_step::sde_step(&[(x, of.x), (&net, of.net)], None)
}

/// An error about how sampling was asked for.
fn refuse(what: impl Into<String>) -> KernelError {
    KernelError::Refused(what.into())
}
