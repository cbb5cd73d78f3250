//! Import and export of checkpoints of the reference implementation and of Hugging Face's `UNet2DModel`.

mod archive;
mod diffusers;
mod find;
mod foreign;
mod hub;
mod inception;
mod pickle;
mod safetensors;
mod score_sde;
mod torch;
mod weights;

pub use diffusers::{diffusers_config, is_diffusers, read_diffusers, write_diffusers};
pub use foreign::{FileKind, Foreign, file_kind};
#[cfg(all(feature = "cli", feature = "hub", any(test, fuzzing)))]
pub(crate) use hub::answered;
pub use hub::{Download, Fault, HubError, download};
pub use inception::InceptionFile;
pub use safetensors::{read_safetensors, read_safetensors_bytes};
pub use score_sde::{read_score_sde, read_score_sde_from, reference_config};
pub use weights::{Imported, Note, foreign_network};

use crate::config::ConfigError;

/// The reason why a foreign file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InteropError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// The file is truncated or contradicts itself.
    #[error("it is truncated or damaged: {0}")]
    Damaged(String),
    /// Loading what is needed would require running code.
    #[error(
        "its pickle calls {0}; only tensors, numbers, texts, lists and dictionaries are read, and no code is run"
    )]
    Code(String),
    /// The file is another program's, or no weights at all.
    #[error("it is {0}")]
    Foreign(Foreign),
    /// The file is of another kind, or has an unsupported feature.
    #[error("{0}")]
    Unknown(String),
    /// The file does not match the configuration.
    #[error("{0}")]
    Mismatch(String),
    /// The hub does not hand a model over.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
