//! Sampling: the probability flow, predictors and correctors.

mod flow;

pub use flow::{Flow, probability_flow};
