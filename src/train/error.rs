//! Errors of training and of checkpoints.

use crate::config::ConfigError;
use crate::data::{DataError, Fingerprint};
use crate::gpu::GpuError;
use crate::kernels::KernelError;
use std::path::{Path, PathBuf};

/// An error of training, or of a checkpoint.
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
        /// The system's message.
        reason: String,
        /// The remedy.
        remedy: &'static str,
    },
    /// A checkpoint is damaged: truncated, or with another checksum, or with numbers that are not finite.
    #[error("{path}: {what}; name another checkpoint")]
    Damaged {
        /// The file.
        path: String,
        /// The fault.
        what: String,
    },
    /// A file is not a checkpoint of this program, or is of another model.
    #[error("{path}: {what}; name another checkpoint")]
    Checkpoint {
        /// The file.
        path: String,
        /// The fault.
        what: String,
    },
    /// The folder holds a run, and a new one was to begin there.
    #[error("{} holds a run already; choose another folder, or resume with RunOptions::resume", folder.display())]
    Exists {
        /// The run folder.
        folder: PathBuf,
    },
    /// The folder holds no run to resume.
    #[error("{} holds no run to resume", folder.display())]
    NothingToResume {
        /// The run folder.
        folder: PathBuf,
    },
    /// The folder holds no checkpoint.
    #[error("{0} holds no checkpoint; name a run folder that has one in {0}/checkpoints", folder.display())]
    NoCheckpoint {
        /// The run folder.
        folder: PathBuf,
    },
    /// `training.eval_freq` is set, and the configuration names no images to evaluate: the error of the test
    /// images, if the configuration names the data.
    #[error(
        "training.eval_freq: {}; hold some of the training images out with data.hold_out, or leave the key out",
        .0.as_ref().map_or("there are no held-out images".into(), ToString::to_string)
    )]
    NothingHeldOut(Option<DataError>),
    /// The run was begun with another value of a key that its result depends on.
    #[error("{} was begun with {key} = {value}; resume with that, or train to another folder", folder.display())]
    OtherConfig {
        /// The run folder.
        folder: PathBuf,
        /// The first key that differs, as `section.key`.
        key: String,
        /// Its value in the run, as TOML.
        value: String,
    },
    /// The run has made more steps than were requested.
    #[error("{} has made {made} steps already, more than the {requested} requested", folder.display())]
    Behind {
        /// The run folder.
        folder: PathBuf,
        /// [`RunOptions::steps`](super::RunOptions::steps).
        requested: u64,
        /// Steps made.
        made: u64,
    },
    /// [`RunOptions::steps`](super::RunOptions::steps) is 0.
    #[error("0 steps: there is nothing to do")]
    NoSteps,
    /// The run has begun, and no checkpoint of it is whole.
    #[error("{}: {what}; put its checkpoints back, or train to another folder", folder.display())]
    NoWholeCheckpoint {
        /// The run folder.
        folder: PathBuf,
        /// The reason.
        what: String,
    },
    /// Another process trains in the folder.
    #[error("{} is in use by {holder}; wait until it ends, or train to another folder", folder.display())]
    InUse {
        /// The run folder.
        folder: PathBuf,
        /// The other process.
        holder: String,
    },
    /// The run was begun on other images.
    #[error("{} was begun on {theirs}, and the data are {ours}; resume with the same data", folder.display())]
    OtherData {
        /// The run folder.
        folder: PathBuf,
        /// The images of the run.
        theirs: Box<Fingerprint>,
        /// The images now.
        ours: Box<Fingerprint>,
    },
    /// The rows of a run are not those that training wrote.
    #[error(
        "{}: it does not begin with the header of its columns; move it away to resume without its rows",
        path.display()
    )]
    Rows {
        /// The file.
        path: PathBuf,
    },
    /// A file of the run is a link, a folder or a device.
    #[error("{} is no plain file; remove it, or train to another folder", path.display())]
    NotPlain {
        /// The file.
        path: PathBuf,
    },
    /// The file `steps` is damaged.
    #[error("{} holds no number of steps; remove it", path.display())]
    NoNumber {
        /// The file.
        path: PathBuf,
    },
    /// The caller's function that watches a run failed.
    #[error(transparent)]
    Watch(Box<dyn std::error::Error + Send + Sync>),
    /// The model has made as many steps as random numbers can be drawn for, 2³².
    #[error("step {0}: a model is trained for at most 4294967295 steps")]
    TooManySteps(
        /// Steps made.
        u64,
    ),
    /// A number of the model is not finite.
    #[error(
        "training has diverged: {what} at step {step}, {}; train again with a lower optim.lr or optim.grad_clip",
        good.as_ref().map_or("and no checkpoint was written before".into(), |path| {
            format!("and {} is the newest checkpoint before", path.display())
        })
    )]
    Diverged {
        /// Steps made.
        step: u64,
        /// The numbers that are not finite.
        what: String,
        /// The newest checkpoint, which is whole and finite.
        good: Option<PathBuf>,
    },
}

impl TrainError {
    /// Returns true if the device has no room for a tensor.
    pub(super) fn is_out_of_memory(&self) -> bool {
        use GpuError::{DriverMemory, OutOfMemory, TooLarge};
        let room = |error: &GpuError| matches!(error, OutOfMemory { .. } | DriverMemory(_) | TooLarge { .. });
        matches!(self, TrainError::Kernel(KernelError::Gpu(error)) if room(error))
    }
}

impl From<GpuError> for TrainError {
    fn from(error: GpuError) -> Self {
        TrainError::Kernel(error.into())
    }
}

/// A file error with its path and a remedy.
pub(super) fn file_error(path: &Path, error: std::io::Error) -> TrainError {
    let remedy = match error.kind() {
        std::io::ErrorKind::StorageFull => "make room and resume: the files written before are whole",
        _ => "check that the path exists and may be read and written, or name another",
    };
    TrainError::File { path: path.display().to_string(), reason: error.to_string(), remedy }
}
