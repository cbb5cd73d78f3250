//! The library against reference values, analytic answers and itself, and the program as a user meets it.
//!
//! Tests that need `../shared` say so and are skipped, with a printed reason, where it is absent.

mod support;

mod cli;
mod distributions;
mod engines;
mod interop;
mod networks;
mod ops;
mod portability;
mod score_sde;
