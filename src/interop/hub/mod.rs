//! Models on the Hugging Face Hub, through the cache of Hugging Face's own programs.
//!
//! A hub is not trusted: what it says becomes a part of a path only as a plain name, and no byte is kept that
//! it has not announced.

#[cfg(feature = "hub")]
mod address;
#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod client;
mod error;
#[cfg(feature = "hub")]
mod fetch;
mod name;
#[cfg(feature = "hub")]
mod partial;
#[cfg(all(feature = "hub", any(test, fuzzing)))]
mod script;
#[cfg(feature = "hub")]
mod surroundings;

pub use error::{Fault, HubError};
#[cfg(all(feature = "hub", any(test, fuzzing)))]
pub use script::answered;

#[cfg(feature = "hub")]
use address::Address;
use name::Name;
use std::path::PathBuf;

/// The events of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Download<'a> {
    /// The download of a file begins.
    Begin {
        /// The file's name in the repository.
        file: &'a str,
        /// The file's size.
        bytes: u64,
    },
    /// This many further bytes are there, by a download before or by this one.
    More(u64),
    /// The file is complete.
    End,
}

/// Downloads the missing files of the model `OWNER/NAME[@REVISION]` and returns its folder in the cache, in
/// Hugging Face's layout. Cached files are not requested again, and an interrupted download goes on.
///
/// The environment names the hub (`HF_ENDPOINT`), the cache (`HF_HUB_CACHE`, `HF_HOME`) and the login
/// (`HF_TOKEN`, `HF_TOKEN_PATH`), as for Hugging Face's own programs.
///
/// # Errors
/// If there is no such model, or the hub cannot be reached, or is not what it says.
pub fn download(name: &str, watch: &mut dyn FnMut(Download<'_>)) -> Result<PathBuf, HubError> {
    let name = Name::parse(name)?;
    #[cfg(feature = "hub")]
    return fetch::download(&name, watch);
    #[cfg(not(feature = "hub"))]
    {
        let _ = watch;
        Err(HubError::NotBuilt { repository: name.repository, revision: name.revision })
    }
}
