//! Training: the objective, the optimiser's step, checkpoints, and the run folder.

mod checkpoint;
mod classes;
mod objective;
mod run;
mod trainer;

pub use crate::random::Draw;
pub use checkpoint::{Checkpoint, Weights};
pub use objective::Objective;
pub use run::{Event, Metrics, Run, RunOptions};
pub use trainer::{StepReport, Trainer};

use crate::config::ConfigError;
use crate::data::DataError;
use crate::gpu::GpuError;
use crate::kernels::KernelError;
use std::path::Path;

/// Why training stopped, or a checkpoint could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A kernel or the device.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file cannot be read or written.
    #[error("{path}: {reason}; {remedy}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file is not a checkpoint of ours.
    #[error("{path}: {what}; name another checkpoint")]
    Checkpoint {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The run folder is not in a state to train in.
    #[error("{0}")]
    Run(String),
    /// The model has made as many steps as random numbers can be drawn for, 2³².
    #[error("step {0}: a model is trained for at most 4294967295 steps")]
    TooManySteps(
        /// Steps made.
        u64,
    ),
    /// The loss is not a number any more.
    #[error(
        "the loss is not finite at step {0}: training has diverged; train to another --out with a lower optim.lr or \
         optim.grad_clip (the checkpoints before are whole)"
    )]
    Diverged(u64),
}

impl From<GpuError> for TrainError {
    fn from(error: GpuError) -> Self {
        TrainError::Kernel(error.into())
    }
}

/// A file error with its path, and a word on full disks.
fn file_error(path: &Path, error: std::io::Error) -> TrainError {
    let remedy = match error.kind() {
        std::io::ErrorKind::StorageFull => {
            "make room and resume with --resume, what was written before is whole"
        }
        _ => "check that the path exists and may be read and written, or name another",
    };
    TrainError::File { path: path.display().to_string(), reason: error.to_string(), remedy }
}
