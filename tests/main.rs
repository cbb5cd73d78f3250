//! The library against reference values, analytic answers and itself, and the program as a user meets it.
//!
//! Tests that need `../shared` say so and are skipped, with a printed reason, where it is absent.

mod support;

mod bound;
mod classes;
mod cli;
mod cli_classes;
mod cli_control;
mod cli_ode;
mod diffusers;
mod distributions;
mod engines;
mod families;
mod fast_solvers;
mod hostile;
#[cfg(feature = "hub")]
mod hub;
mod interop;
mod inverse;
mod networks;
mod objectives;
mod ode;
mod ops;
mod portability;
mod refinenets;
mod score_command;
mod score_sde;
mod solvers_pc;
mod training;
