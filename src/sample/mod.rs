//! Sampling: the probability flow, predictors and correctors.

mod flow;
mod pc;

pub use flow::{Flow, probability_flow};
pub use pc::{PredictorCorrector, Progress};
