//! Guidance: scores given a class or a measurement, and known parts of the data.

mod class;
mod feasible;
mod impute;
mod inverse;
mod operator;

pub use class::{ClassConditional, ClassifierGuided, Guide, TangentGuide, Toward};
pub use feasible::feasible;
pub use impute::{Decoupling, Impute};
pub use inverse::{Guidance, Guided, Measurement, Twist};
pub use operator::{LinearSystem, Mask, Matrix, Operator, Resampling, solve};
