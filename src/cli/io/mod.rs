//! Models, data, images, tensors and plots in files.

pub mod animation;
pub mod data;
pub mod given;
pub mod images;
pub mod measurement_io;
pub mod model;
pub mod pictures;
pub mod plot;
pub mod tensors;
