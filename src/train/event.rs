//! The events of the training loop, and what sees them.

use super::TrainError;
use super::held_out::LEVELS;
use super::metrics::Metrics;
use super::trainer::Trainer;
use crate::data::Source;
use crate::nn::BuiltIn;
use std::path::Path;

/// An event of the training loop.
pub enum Event<'a, A = BuiltIn> {
    /// A checkpoint that is not whole was moved aside, and an older one is resumed.
    SetAside {
        /// Its new place.
        path: &'a Path,
        /// The fault.
        what: &'a str,
    },
    /// Rows of a resumed run are missing.
    Rows {
        /// The file of rows.
        path: &'a Path,
        /// The fault.
        what: &'a str,
    },
    /// The run was stopped before its first checkpoint and begins again at step 0.
    Anew,
    /// The run begins with weights of another model.
    Initialised {
        /// The number of tensors that were taken.
        taken: usize,
        /// Tensors of either model without a counterpart of the same shape, with the reasons.
        others: &'a [String],
    },
    /// A batch did not fit into the device's memory, and is computed in this many parts
    /// (`training.fit_memory`).
    Divided(usize),
    /// Parts of the data were left out ([`Source::skipped`]): their names and the reasons.
    Skipped(&'a [String]),
    /// The loop begins.
    Start {
        /// Steps made before.
        step: u64,
        /// Total number of steps.
        steps: u64,
        /// Parameters of the network.
        parameters: usize,
        /// Images to train on.
        images: usize,
        /// Images held out for [`Metrics::held_out_loss`].
        held_out: usize,
        /// The noise levels σ between which the parts of [`Metrics::held_out_levels`] lie.
        noise_levels: [f64; LEVELS + 1],
    },
    /// The first step since the start has run.
    First {
        /// Its loss.
        loss: f64,
        /// Images per second, including the time to compile the kernels.
        images_per_second: f64,
    },
    /// A step has been submitted to the device; the total number of steps made.
    Step(u64),
    /// A row has been written.
    Row(Metrics),
    /// A checkpoint has been written.
    Saved {
        /// The trainer, for example to draw samples.
        trainer: &'a Trainer<A>,
        /// The file.
        path: &'a Path,
    },
}

/// A function that sees every event; its error stops training.
pub type Watch<'a, A = BuiltIn> = dyn FnMut(Event<'_, A>) -> Result<(), TrainError> + 'a;

/// The number of things left out that have been told.
#[derive(Default)]
pub(super) struct Skipped(usize);

impl Skipped {
    /// Tells what the source has left out since.
    pub(super) fn tell<A>(
        &mut self,
        source: &dyn Source,
        watch: &mut Watch<'_, A>,
    ) -> Result<(), TrainError> {
        let all = source.skipped();
        let new = all.get(self.0..).filter(|new| !new.is_empty());
        self.0 = all.len();
        new.map_or(Ok(()), |new| watch(Event::Skipped(new)))
    }
}
