//! The probability flow: the ODE with the marginals of the SDE, its solver, and likelihoods by it.

pub mod dormand_prince;
mod great_circle;
pub mod likelihood;
mod ode;
mod probability_flow;

pub use great_circle::great_circle;
pub use ode::Ode;
pub use probability_flow::{Flow, divergence, probability_flow};
