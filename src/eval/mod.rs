//! Metrics on samples and on classifiers, and bounds on data.

mod accuracy;
mod bits;
mod bound;
mod frechet;
mod neighbours;

pub use accuracy::{Accuracy, accuracy_by_noise, classify};
pub use bits::{Bits, bits};
pub use bound::{Bound, Terms};
pub use frechet::{Moments, frechet_distance};
pub use neighbours::copies;
