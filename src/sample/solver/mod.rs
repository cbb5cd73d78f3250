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
use crate::config::sampling::methods;
use crate::config::{Method, Sampling};

/// The constructors of the [table of samplers](crate::config::sampling).
macro_rules! construct {
    ($(
        $(#[doc = $help:literal])+
        $Method:ident = $name:literal, $steps:expr, [$($capability:ident),*], $new:expr;
    )+) => {
        fn construct(config: &Sampling, steps: usize) -> Result<Box<dyn Sampler>> {
            Ok(match config.method {
                $( Method::$Method => {
                    let new: fn(&Sampling, usize) -> Result<_> = $new;
                    Box::new(new(config, steps)?)
                } )+
            })
        }
    };
}
methods!(construct);

/// The sampler that a configuration describes, with `steps` steps, whatever [`Sampling::steps`] says. Options that the
/// sampler does not read ([`SamplingOption::is_read_by`](crate::config::sampling::SamplingOption::is_read_by)) have no
/// effect.
///
/// # Errors
/// If a value is out of its range, if there are too few steps, or settings contradict each other.
pub fn sampler(config: &Sampling, steps: usize) -> Result<Box<dyn Sampler>> {
    config.check()?;
    if config.schedule.is_some() && config.method.schedule().is_none() {
        let remedy = "leave sampling.schedule out, or take another sampler";
        return Err(refuse(format!("this sampler has a schedule of its own; {remedy}")));
    }
    construct(config, steps)
}
