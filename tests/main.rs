//! The library against reference values, analytic answers and itself, and the program as a user meets it.
//!
//! Tests that need `../shared` say so and are skipped, with a printed reason, where it is absent.

mod support;

mod cli;
mod diffusers;
mod distributions;
mod engines;
mod hostile;
#[cfg(feature = "hub")]
mod hub;
mod interop;
mod networks;
mod ops;
mod portability;
mod score_command;
mod score_sde;
