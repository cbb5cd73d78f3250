//! Solvers of the reverse-time process.

mod adaptive;
mod annealed_langevin;
mod corrector;
mod driver;
mod grid;
mod hamiltonian;
mod heun;
mod multistep;
mod particles;
mod pc;
mod predictor;
mod sra1;

pub use adaptive::Adaptive;
pub use annealed_langevin::AnnealedLangevin;
pub use corrector::{Corrector, LangevinAnnealed, LangevinSnr, Moment};
pub use driver::Driver;
pub use grid::Grid;
pub use hamiltonian::HamiltonianMonteCarlo;
pub use heun::{Churn, Heun};
pub use multistep::Multistep;
pub use particles::Particles;
pub use pc::PredictorCorrector;
pub use predictor::{Ancestral, EulerMaruyama, Predictor, ReverseDiffusion};
pub use sra1::Sra1;

use super::Sampler;
use super::error::{Result, refuse};
use super::flow::Ode;
use crate::config::{Method, Sampling, Schedule};

/// The sampler that a configuration describes, with `steps` steps.
///
/// # Errors
/// If there are too few steps, or settings contradict each other.
pub fn sampler(config: &Sampling, steps: usize) -> Result<Box<dyn Sampler>> {
    let grid = |own: Schedule| Grid::new(config, config.schedule.unwrap_or(own), steps);
    let multistep = |order: usize, eta: f64, own: Schedule| -> Result<Box<dyn Sampler>> {
        Ok(Box::new(Multistep { grid: grid(own)?, order, eta }))
    };
    match config.method {
        method if config.schedule.is_some() && !method.has_grid() => {
            let what = "this sampler has a schedule of its own; leave sampling.schedule out, or take another sampler";
            Err(refuse(what))
        }
        Method::Pc => Ok(Box::new(PredictorCorrector::new(config, steps)?)),
        Method::Ald => Ok(Box::new(AnnealedLangevin::new(config, steps)?)),
        Method::Euler => multistep(1, 0.0, Schedule::Edm),
        Method::Heun => Ok(Box::new(Heun::new(grid(Schedule::Edm)?))),
        Method::StochasticHeun => Ok(Box::new(Heun::stochastic(grid(Schedule::Edm)?, config))),
        Method::Ddim => multistep(1, config.eta, Schedule::Time),
        Method::Dpmpp2m => multistep(2, config.eta, Schedule::LogSnr),
        Method::Dpmpp3m => multistep(3, config.eta, Schedule::LogSnr),
        Method::AdaptiveSde => Ok(Box::new(Adaptive::new(config))),
        Method::Ode => Ok(Box::new(Ode::new(config))),
    }
}
