//! Sampling: solvers of the reverse-time process, guidance, and the probability flow with its likelihood.
//!
//! | wing | what it holds |
//! | --- | --- |
//! | `score` | what a score is: one question, `at(x, t)` |
//! | `solver` | predictors and correctors, annealed Langevin dynamics, solvers that need few evaluations, particles |
//! | `guide` | classes, inverse problems, imputation |
//! | `flow` | the probability flow, its adaptive solver, likelihoods |

mod error;
mod flow;
mod guide;
mod score;
mod solver;

pub use error::{Result, SampleError};
pub use flow::dormand_prince;
pub use flow::likelihood;
pub use flow::{Flow, Ode, divergence, great_circle, probability_flow};
pub use guide::{
    ClassConditional, ClassifierGuided, Decoupling, Guidance, Guide, Guided, Impute, LinearSystem, Mask,
    Matrix, Measurement, Operator, Resampling, TangentGuide, Toward, Twist, feasible, solve,
};
pub use score::{Adjoint, Differentiable, Evaluation, Pullback, Score, Tangents, Times};
pub use solver::{
    Adaptive, Ancestral, AnnealedLangevin, Churn, Corrector, Driver, EulerMaruyama, Grid,
    HamiltonianMonteCarlo, Heun, LangevinAnnealed, LangevinSnr, Moment, Multistep, Particles, Predictor,
    PredictorCorrector, ReverseDiffusion, Sra1, sampler,
};

pub use crate::random::Draw;

use crate::kernels::random::{Distribution, fill};
use crate::random::{Key, Purpose};
use crate::sde::Marginal;
use crate::tensor::{Shape, Tensor};

/// A sampler's state after a step.
pub struct Progress<'a> {
    /// Steps made.
    pub step: usize,
    /// The time of the state.
    pub t: f64,
    /// The state, `[n, h, w, c]` in the model's range.
    pub state: &'a Tensor,
}

/// A function that sees every step of a sampler, and can end it by an error.
pub type Watch<'a> = dyn FnMut(Progress<'_>) -> Result<()> + 'a;

/// Samples, and what they took.
pub struct Sampled {
    /// The samples, `[n, h, w, c]` in the model's range.
    pub x: Tensor,
    /// Score evaluations per sample, averaged over the batch if samples take different numbers of steps.
    pub evaluations: f64,
    /// The share of proposals that were accepted, if the corrector rejects any.
    pub acceptance: Option<f64>,
}

impl Sampled {
    /// Samples of a solver that rejects no proposals.
    pub fn new(x: Tensor, evaluations: f64) -> Sampled {
        Sampled { x, evaluations, acceptance: None }
    }

    /// The samples of states at the process's ε, with one more evaluation if it removes the residual noise.
    fn at_the_end(score: &dyn Score, x: Tensor, evaluations: f64, noise_removal: bool) -> Result<Sampled> {
        if !noise_removal {
            return Ok(Sampled::new(x, evaluations));
        }
        Ok(Sampled::new(denoise(score, &x, score.process().sampling_eps())?, evaluations + 1.0))
    }
}

/// A solver of the reverse-time process.
///
/// ```no_run
/// use tweedie::config::{Method, Sampling};
/// use tweedie::prelude::*;
///
/// let gpu = Gpu::open(None)?;
/// let score = Checkpoint::read(&Run::at("runs/digits").latest()?)?.scorer(&gpu, Weights::Ema)?;
/// let config = Sampling { method: Method::Dpmpp2m, ..Sampling::default() };
/// let draw = Draw::new(42);
/// let start = prior(&score, Shape::new(16, 8, 8, 1), draw)?;
/// let sampled = sampler(&config, 20)?.run(&score, start, draw, &mut |_| Ok(()))?;
/// let pixels: Vec<f32> = sampled.x.read()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Sampler {
    /// The number of steps, if it is known beforehand.
    fn steps(&self) -> Option<usize>;

    /// Runs from states `x` `[n, h, w, c]` at time 1 to samples. A sample depends on its number alone, unless the solver
    /// averages over the batch.
    ///
    /// # Errors
    /// If the settings do not fit the score's process, or `watch` fails.
    fn run(&self, score: &dyn Score, x: Tensor, draw: Draw, watch: &mut Watch<'_>) -> Result<Sampled>;
}

/// A condition imposed on the state after every step, for example known pixels.
pub trait Constraint {
    /// The state `x` `[n, h, w, c]` with the known part put in, perturbed to this marginal; `key` is for its noise.
    ///
    /// # Errors
    /// If the shapes do not fit.
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

/// States from the prior, `shape` `[n, h, w, c]`.
///
/// # Errors
/// If the device refuses.
pub fn prior(score: &dyn Score, shape: Shape, draw: Draw) -> Result<Tensor> {
    let prior = Distribution::Normal { std: score.process().prior_std() as f32 };
    Ok(fill(score.gpu(), shape, draw.key(Purpose::Prior), prior)?)
}

/// The mean of the data given the states `x` `[n, h, w, c]` at time `t` from 0 to 1, by Tweedie's formula: E[x₀ | x] =
/// (x + s² score) / m. Without noise they are the data.
///
/// # Errors
/// Any error of the score.
pub fn denoise(score: &dyn Score, x: &Tensor, t: f64) -> Result<Tensor> {
    if score.process().marginal_prob(t).std == 0.0 {
        return Ok(x.clone());
    }
    Ok(score.at(x, &t.into())?.denoised().run()?)
}
