//! Other people's checkpoints: the reference implementation's, and Hugging Face's `UNet2DModel`, in and out.

mod archive;
mod diffusers;
mod hub;
mod pickle;
mod safetensors;
mod score_sde;
mod torch;

pub use diffusers::{diffusers_config, is_diffusers, read_diffusers, write_diffusers};
pub use hub::{Download, download};
pub use safetensors::{read_safetensors, read_safetensors_bytes};
pub use score_sde::{read_score_sde, read_score_sde_from, reference_config};

use crate::config::ConfigError;

/// Why a file of somebody else's cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InteropError {
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// It is cut off, or contradicts itself.
    #[error("it is truncated or damaged: {0}")]
    Damaged(String),
    /// It wants code to be run.
    #[error(
        "its pickle asks for {0}; only tensors, numbers, texts, lists and dictionaries are read, and no code is run"
    )]
    Code(String),
    /// It is another kind of file.
    #[error("{0}")]
    Unknown(String),
    /// It does not go with the configuration.
    #[error("{0}")]
    Mismatch(String),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
