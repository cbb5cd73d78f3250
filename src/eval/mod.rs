//! Metrics on samples, and bounds on data.

mod bound;
mod frechet;
mod neighbours;

pub use bound::{Bound, Terms};
pub use frechet::{Moments, frechet_distance};
pub use neighbours::copies;
