//! Metrics on samples and on classifiers, and bounds on data.

mod accuracy;
mod bound;
mod frechet;
mod neighbours;

pub use accuracy::{Level, accuracy_by_noise, classify};
pub use bound::{Bound, Terms};
pub use frechet::{Moments, frechet_distance};
pub use neighbours::copies;
