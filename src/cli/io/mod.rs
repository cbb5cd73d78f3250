//! Models, data, images, tensors and plots in files.

pub mod animation;
pub mod batch;
pub mod configuration;
pub mod data;
pub mod images;
pub mod measurement_io;
pub mod model;
pub mod npz;
pub mod observed;
pub mod paths;
pub mod pictures;
pub mod plane;
pub mod plot;
pub mod points;
pub mod statistics;
pub mod tensors;

pub use animation::{Animation, AnimationArgs};
pub use batch::Batch;
pub use data::DATA;
pub use images::Images;
pub use model::{EXPORTED, check_file, exported, is_import, is_model, local, with_notes};
pub use npz::Npz;
pub use observed::{Observed, mask_file, read_mask};
pub use tensors::{Named, Tensors};
