//! Metrics on samples and on classifiers, and bounds on data.

mod accuracy;
mod bits;
mod bound;
mod exact;
mod frechet;
mod neighbours;

pub use accuracy::{Accuracy, NOISE_LEVELS, accuracy_at, classify};
pub use bits::{Estimate, bits, nats};
pub use bound::{Bound, Measured, Terms};
pub use exact::{Exact, ExactScore, score_error};
pub use frechet::{Moments, frechet_distance};
pub use neighbours::copies;
