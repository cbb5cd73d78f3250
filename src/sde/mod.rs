//! Forward processes in float64: numbers for each time, no arrays. Time runs from 0, the data, to 1, the prior.
//!
//! A linear process dx = f(t) x dt + g(t) dw is known by its perturbation kernel x(t) | x(0) ~ N(m(t) x(0), s(t)² I), so
//! that two functions make a [`Process`]: log m(t) and s²(t). [`Ve`], [`Vp`] and [`SubVp`] are those of Song 2021
//! (section 3.4 and appendix B); anybody can add another. A [`Chain`] is a process cut into n steps.

mod betas;
mod chain;
mod ddpm;
mod importance;
mod level;
mod noise_scales;
mod normal;
mod process;
mod sub_vp;
mod ve;
mod vp;

pub use betas::{BetaSchedule, Betas};
pub use chain::{Chain, Discretised, Transition};
pub(crate) use ddpm::half_level;
pub use ddpm::{DdpmChain, PosteriorVariance};
pub use importance::Importance;
pub use level::Level;
pub use noise_scales::{Ladder, OVERLAP, langevin_eps, langevin_variance};
pub use normal::{log_mass, quantile};
#[cfg(test)]
pub(crate) use process::tests as process_tests;
pub use process::{Marginal, Process};
pub use sub_vp::SubVp;
pub use ve::Ve;
pub use vp::Vp;

/// Nats of a sample of `dimensions` → bits per dimension.
pub fn bits_per_dim(nats: f64, dimensions: usize) -> f64 {
    nats / (dimensions as f64 * std::f64::consts::LN_2)
}
