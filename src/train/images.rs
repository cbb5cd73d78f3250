//! The images of a run: those to train on, and those held out.

use super::TrainError;
use super::held_out::HeldOut;
use crate::config::{Config, Data};
use crate::data::{self, DataError, Fingerprint, Part, Source, Split};

/// The images of a run, prepared.
pub(super) struct Sets<'a> {
    /// The identity of the data, with the images held out.
    pub(super) data: Fingerprint,
    pub(super) training: &'a dyn Source,
    pub(super) held_out: Option<HeldOut<'a>>,
}

/// The images of a run.
pub(super) struct Images<'a> {
    pub(super) training: &'a dyn Source,
    /// The test images, where they are evaluated.
    pub(super) test: Option<&'a dyn Source>,
}

impl<'a> Images<'a> {
    /// The images of `training.eval_freq`, if it is set: `held`, those held out of the training images, else
    /// the test images.
    pub(super) fn held_out(
        &self,
        config: &Config,
        held: &'a Part<'_>,
    ) -> Result<Option<HeldOut<'a>>, TrainError> {
        let source = match config.training.eval_freq {
            0 => return Ok(None),
            _ if config.data.hold_out > 0 => held,
            _ => self.test.ok_or(TrainError::NothingHeldOut(None))?,
        };
        HeldOut::new(source, config).map(Some)
    }
}

/// The test images, if the configuration evaluates them.
pub(super) fn test_images(config: &Config) -> Result<Option<Box<dyn Source>>, TrainError> {
    if config.training.eval_freq == 0 || config.data.hold_out > 0 {
        return Ok(None);
    }
    let test = data::open(&config.data, Split::Test);
    test.map(Some).map_err(|error| TrainError::NothingHeldOut(Some(error)))
}

/// Checks that the files of test images exist: they are read when the training is over.
pub(super) fn check_files(data: &Data) -> Result<(), TrainError> {
    let files = [&data.test_path, &data.test_images, &data.test_labels];
    let lost = files.into_iter().flatten().find(|path| !path.exists());
    lost.map_or(Ok(()), |path| {
        let (path, reason) = (path.display().to_string(), "these test images do not exist".into());
        Err(DataError::Read { path, reason }.into())
    })
}
