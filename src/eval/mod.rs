//! Metrics on samples, and on classifiers.

mod accuracy;
mod frechet;
mod neighbours;

pub use accuracy::{Level, accuracy_by_noise, classify};
pub use frechet::{Moments, frechet_distance};
pub use neighbours::copies;
