//! Shared by the commands that sample or follow the flow: options, classes, the loop over batches.

pub mod classes;
pub mod flags;
pub mod flow;
pub mod options;
pub mod sampling_loop;

pub use classes::{ClassArgs, Classes};
pub use flags::{All, Decoding, SamplingFlags, Selection, Tolerances, constrained};
pub use flow::Flow;
pub use options::{ConditionalArgs, Model, SamplingArgs, shape};
pub use sampling_loop::{Drawn, Samples};
