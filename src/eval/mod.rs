//! Metrics on samples.

mod frechet;
mod neighbours;

pub use frechet::{Moments, frechet_distance};
pub use neighbours::copies;
