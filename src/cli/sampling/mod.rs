//! What the commands that sample or follow the flow share: options, classes, the loop over batches.

pub mod classes;
pub mod flags;
pub mod flow;
pub mod options;
pub mod sampling_loop;
