//! Models, data, images, tensors and plots in files.

pub mod animation;
pub mod batch;
pub mod configuration;
pub mod data;
pub mod images;
pub mod measurement_io;
pub mod model;
pub mod observed;
pub mod paths;
pub mod pictures;
pub mod plot;
pub mod tensors;
