//! Training: the objective, the optimiser's step, checkpoints, and the run folder.
//!
//! [`Run::train`] trains the model of a configuration on the data that it names, [`Run::train_on`] on any
//! [`Source`](crate::data::Source) of images, [`Run::train_model`] any model on them. A [`Trainer`] makes one
//! step at a time, without a folder.

mod checkpoint;
mod checkpoint_file;
mod classes;
mod difference;
mod error;
mod event;
mod folder;
mod held_out;
mod images;
mod initial;
mod metrics;
mod objective;
mod run;
mod trainer;

pub use crate::random::Draw;
pub use checkpoint::{Checkpoint, Weights};
pub use error::TrainError;
pub use event::{Event, Watch};
pub use held_out::{HeldOutLoss, LEVELS};
pub use metrics::Metrics;
pub use objective::Objective;
pub use run::{End, Run, RunOptions};
pub use trainer::{StepReport, Trainer};
